// JSON (RFC 8259), read into a tree. Small, strict, and safe with whatever bytes it is given.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cyclegan {

struct Json {
    using Array = std::vector<Json>;
    using Object = std::map<std::string, Json, std::less<>>;
    std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value = nullptr;

    // The member of that name, or null where this is no object or has none.
    const Json &operator[](std::string_view name) const;
    // The value as text, whole number or array; nothing where it is something else.
    std::optional<std::string_view> text() const;
    std::optional<int> whole() const;
    const Array *array() const { return std::get_if<Array>(&value); }
    bool is_null() const { return std::holds_alternative<std::nullptr_t>(value); }
};

// Throws std::invalid_argument, which says at which byte and why, for anything but one JSON value.
Json parse_json(std::string_view text);

}  // namespace cyclegan
