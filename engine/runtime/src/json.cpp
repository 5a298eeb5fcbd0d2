#include "json.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace cyclegan {
namespace {

constexpr int kDeepest = 32;

class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    Json document() {
        Json json = value(0);
        space();
        if (at_ != text_.size()) fail("more follows the value");
        return json;
    }

  private:
    [[noreturn]] void fail(const char *why) const {
        throw std::invalid_argument("no JSON at byte " + std::to_string(at_) + ": " + why);
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos)
            ++at_;
    }

    bool take(char wanted) {
        space();
        if (at_ == text_.size() || text_[at_] != wanted) return false;
        ++at_;
        return true;
    }

    Json word(std::string_view word, Json json) {
        if (text_.substr(at_, word.size()) != word) fail("unknown word");
        at_ += word.size();
        return json;
    }

    Json value(int depth) {
        if (depth > kDeepest) fail("nested too deeply");
        space();
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return Json{string()};
            case 't': return word("true", Json{true});
            case 'f': return word("false", Json{false});
            case 'n': return word("null", Json{});
            default: return Json{number()};
        }
    }

    Json object(int depth) {
        Json::Object members;
        take('{');
        if (take('}')) return Json{std::move(members)};
        do {
            space();
            if (peek() != '"') fail("a name was expected");
            std::string name = string();
            if (!take(':')) fail("a colon was expected");
            members.insert_or_assign(std::move(name), value(depth + 1));
        } while (take(','));
        if (!take('}')) fail("a comma or } was expected");
        return Json{std::move(members)};
    }

    Json array(int depth) {
        Json::Array items;
        take('[');
        if (take(']')) return Json{std::move(items)};
        do items.push_back(value(depth + 1));
        while (take(','));
        if (!take(']')) fail("a comma or ] was expected");
        return Json{std::move(items)};
    }

    static bool begins_with_digit(std::string_view text) {
        return !text.empty() && text[0] >= '0' && text[0] <= '9';
    }

    double number() {
        const std::string_view rest = text_.substr(at_);
        const std::string_view digits = rest.substr(rest.starts_with('-'));
        // from_chars also takes inf, nan, 01 and 1.
        if (!begins_with_digit(digits)) fail("a value was expected");
        if (digits[0] == '0' && begins_with_digit(digits.substr(1))) fail("a number begins with 0");
        double number = 0;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
        if (error != std::errc()) fail("the number is out of range");
        const std::string_view taken = rest.substr(0, end - rest.data());
        const size_t point = taken.find('.');
        if (point != taken.npos && !begins_with_digit(taken.substr(point + 1)))
            fail("no digit follows the point");
        at_ += taken.size();
        return number;
    }

    std::string string() {
        std::string text;
        for (++at_; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (c == '"') return ++at_, text;
            if (static_cast<unsigned char>(c) < 0x20) fail("a control character inside a string");
            if (c != '\\') text += c;
            else escape(text);
        }
        fail("the string does not end");
    }

    // Leaves at_ on the last character of the escape.
    void escape(std::string &text) {
        ++at_;
        constexpr std::string_view kCodes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
        if (const size_t code = kCodes.find(peek()); code != kCodes.npos) {
            text += kMeanings[code];
        } else if (peek() == 'u') {
            append_utf8(text, code_point());
        } else {
            fail("unknown escape");
        }
    }

    unsigned four_digits() {
        unsigned unit = 0;
        const std::string_view digits = text_.substr(at_ + 1, 4);
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
        if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4)
            fail("four hexadecimal digits were expected");
        at_ += 4;
        return unit;
    }

    unsigned code_point() {
        const unsigned unit = four_digits();
        if (unit < 0xd800 || unit > 0xdfff) return unit;
        if (unit > 0xdbff || text_.substr(at_ + 1, 2) != "\\u") fail("half a surrogate pair");
        at_ += 2;
        const unsigned low = four_digits();
        if (low < 0xdc00 || low > 0xdfff) fail("half a surrogate pair");
        return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }

    static void append_utf8(std::string &text, unsigned code) {
        if (code < 0x80) {
            text += static_cast<char>(code);
            return;
        }
        const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        constexpr int kLead[] = {0, 0xc0, 0xe0, 0xf0};
        text += static_cast<char>(kLead[more] | code >> (6 * more));
        for (int i = more - 1; i >= 0; --i)
            text += static_cast<char>(0x80 | (code >> (6 * i) & 0x3f));
    }

    std::string_view text_;
    size_t at_ = 0;
};

}  // namespace

const Json &Json::operator[](std::string_view name) const {
    static const Json nothing;
    const auto *members = std::get_if<Object>(&value);
    if (!members) return nothing;
    const auto found = members->find(name);
    return found == members->end() ? nothing : found->second;
}

std::optional<std::string_view> Json::text() const {
    const auto *text = std::get_if<std::string>(&value);
    return text ? std::optional<std::string_view>(*text) : std::nullopt;
}

std::optional<int> Json::whole() const {
    const auto *number = std::get_if<double>(&value);
    if (!number || std::trunc(*number) != *number || std::abs(*number) > 1e9) return std::nullopt;
    return static_cast<int>(*number);
}

Json parse_json(std::string_view text) { return Parser(text).document(); }

}  // namespace cyclegan
