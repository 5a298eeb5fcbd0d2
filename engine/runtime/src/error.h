// What goes wrong inside the library, on its way to a status and a sentence.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "cyclegan/cyclegan.h"
#include "text.h"

namespace cyclegan {

class Error : public std::runtime_error {
  public:
    Error(cyclegan_status what_kind, const std::string &message)
        : std::runtime_error(message), status(what_kind) {}
    const cyclegan_status status;
};

// Throws Error. A message says what was got, what was expected, and what to do about it.
[[noreturn, gnu::format(printf, 2, 3)]] inline void fail(cyclegan_status status,
                                                         const char *format, ...) {
    char message[1024];
    va_list values;
    va_start(values, format);
    std::vsnprintf(message, sizeof message, format, values);
    va_end(values);
    throw Error(status, std::string(message, fitting(message, sizeof message - 4)));
}

}  // namespace cyclegan
