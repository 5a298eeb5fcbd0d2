// UTF-8 that has to fit: no character is cut in two, which readers in other languages would refuse.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>

namespace cyclegan {

inline bool is_inside_character(char byte) { return (byte & 0xc0) == 0x80; }

// How many bytes of `text` fit into `most`.
inline size_t fitting(std::string_view text, size_t most) {
    if (text.size() <= most) return text.size();
    size_t end = most;
    while (end > 0 && most - end < 4 && is_inside_character(text[end])) --end;
    return end;
}

// Copies what fits, and ends it with a zero.
inline void copy_text(char *to, size_t size, std::string_view from) {
    const size_t count = fitting(from, size - 1);
    std::memcpy(to, from.data(), count);
    to[count] = '\0';
}

}  // namespace cyclegan
