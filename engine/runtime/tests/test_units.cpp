// What stands below the C functions: digests, JSON, pixels.
#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "error.h"
#include "json.h"
#include "pixels.h"
#include "sha256.h"
#include "text.h"

namespace {

using namespace cyclegan;

std::string digest(const std::string &text, size_t step) {
    Sha256 sha;
    for (size_t at = 0; at < text.size(); at += step) sha.add(text.substr(at, step));
    return sha.hex();
}

// The examples of FIPS 180-4, however the bytes arrive.
void test_sha256() {
    const std::string two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (size_t step : {1, 3, 64, 1000}) {
        CHECK(digest("abc", step) ==
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        CHECK(digest(two, step) ==
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        CHECK(digest(std::string(1000000, 'a'), step + 997) ==
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    // Where the end and the length just fit into the last block, and where they do not.
    for (const auto &[count, expected] :
         {std::pair{55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
          {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
          {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"}})
        CHECK(digest(std::string(count, 'a'), 1000) == expected);
    CHECK(digest("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

void test_text_that_has_to_fit() {
    char room[6];
    for (const auto &[text, kept] : {std::pair{"abcde", "abcde"}, {"abcdef", "abcde"},
                                     {"abcd\u00e9", "abcd"}, {"ab\u20acd", "ab\u20ac"},
                                     {"ab\U0001F600", "ab"}, {"a\u20ac\u20ac", "a\u20ac"}}) {
        copy_text(room, sizeof room, text);
        CHECK(std::string(room) == kept);
    }
    for (int before = 0; before < 4; ++before) {
        std::string text(before, 'x');
        for (int i = 0; i < 400; ++i) text += "\u20ac";
        try {
            fail(CYCLEGAN_ERROR_FILE, "%s", text.c_str());
        } catch (const Error &error) {
            CHECK((strlen(error.what()) - before) % 3 == 0 && strlen(error.what()) > 1000);
        }
    }
}

void test_json() {
    const Json json = parse_json(
        R"( {"a": [1, -2.5e1, true, false, null], "b": {"c": "\u00e9\ud83d\ude00\n\"/"}, "a2": 7} )");
    CHECK(json["a"].array()->size() == 5 && (*json["a"].array())[1].whole() == -25);
    CHECK(json["b"]["c"].text() == "\u00e9\U0001F600\n\"/");
    CHECK(json["a2"].whole() == 7 && json["none"].is_null() && json["a"]["x"].is_null());
    CHECK(!json["a"].text() && !json["b"].whole() && !parse_json("1.5").whole());
    CHECK(!parse_json("3e9").whole() && !parse_json("-1e300").whole());
    CHECK(parse_json("\t\r\n 1E2 \t\r\n").whole() == 100 && parse_json("-0").whole() == 0);
    CHECK(parse_json(R"({"a": 1, "a": 2})")["a"].whole() == 2);  // the last, as in Python
    CHECK(parse_json(R"("\"\\\/\b\f\n\r\t")").text() == "\"\\/\b\f\n\r\t");
    // Where UTF-8 takes one byte more, and the two halves of a pair.
    CHECK(parse_json(R"("\u007f\u0080\u07ff\u0800\uffff\ud800\udc00\uDBFF\udfff")").text() ==
          "\x7f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff");
    CHECK(parse_json("\"\u00e9\u20ac\"").text() == "\u00e9\u20ac");
    for (const char *bad :
         {"", "{", "[1,]", "{\"a\" 1}", "{1: 2}", "{a\": 1}", "{\"a\":1,}", "{\"a\":1", "[1", "]",
          "1 2", "nul", "\"a", "\"\n\"", "\"\x1f\"", "\"\\x\"", "\"\\u12\"", "\"\\u004g\"",
          "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\ud800\\ue000\"", "\"\\udc00\\udc00\"",
          "\"\\udfff\"", "inf", "-", "+1", ".5", "-.5", "01", "-01", "1.", "1.e5", "1e", "0x1",
          "1e999"}) {
        try {
            parse_json(bad);
            fprintf(stderr, "taken: %s\n", bad);
            CHECK(false);
        } catch (const std::invalid_argument &error) {
            CHECK(strstr(error.what(), "no JSON at byte"));
        }
    }
    CHECK(parse_json(std::string(32, '[') + std::string(32, ']')).array());
    try {
        parse_json(std::string(100000, '['));
        CHECK(false);
    } catch (const std::invalid_argument &error) {
        CHECK(strstr(error.what(), "too deeply"));
    }
}

struct Buffer {
    Buffer(int width, int height, int format, size_t gap)
        : stride(static_cast<size_t>(width) * (format == CYCLEGAN_RGBA8 ? 4 : 3) + gap),
          first(stride * height, 0xAA),
          second(stride * height, 0xAA) {
        frame = rgb_frame(first.data(), width, height);
        frame.format = format;
        frame.data[1] = second.data();
        frame.stride[0] = frame.stride[1] = stride;
    }
    size_t stride;
    std::vector<uint8_t> first, second;
    cyclegan_frame frame;
};

void test_packed_formats_and_strides() {
    constexpr int kWidth = 5, kHeight = 3;
    std::vector<uint8_t> rgb(3 * kWidth * kHeight), again(rgb.size());
    fill(rgb.data(), rgb.size(), 1);
    for (int format : {CYCLEGAN_RGB8, CYCLEGAN_BGR8, CYCLEGAN_RGBA8}) {
        Buffer buffer(kWidth, kHeight, format, 7);
        check_frame(&buffer.frame, "frame");
        frame_from_rgb(buffer.frame, rgb.data(), kWidth);
        const size_t row = buffer.stride - 7;
        for (int y = 0; y < kHeight; ++y)  // nothing is written between the rows
            for (size_t i = row; i < buffer.stride; ++i)
                CHECK(buffer.first[y * buffer.stride + i] == 0xAA);
        const size_t red = format == CYCLEGAN_BGR8 ? 2 : 0;
        CHECK(buffer.first[buffer.stride + red] == rgb[3 * kWidth]);
        if (format == CYCLEGAN_RGBA8) CHECK(buffer.first[3] == 255);
        rgb_from_frame(buffer.frame, again.data(), kWidth, kHeight);
        CHECK(again == rgb);
    }
}

bool is_taken(const cyclegan_frame &frame) {
    try {
        check_frame(&frame, "frame");
        return true;
    } catch (const Error &) {
        return false;
    }
}

void test_the_largest_and_smallest_frames() {
    uint8_t pixel = 0;
    cyclegan_frame frame = rgb_frame(&pixel, kLargestSide, kLargestSide);
    CHECK(is_taken(frame));
    frame.stride[0] = PTRDIFF_MAX / kLargestSide + size_t{1};
    CHECK(!is_taken(frame));
    frame = rgb_frame(&pixel, 5, 1);
    frame.format = CYCLEGAN_NV12;
    frame.data[1] = &pixel;
    frame.stride[0] = 5, frame.stride[1] = 6;
    CHECK(is_taken(frame));
    frame.stride[1] = 5;  // of half a pair
    CHECK(!is_taken(frame));
    frame.stride[0] = 4, frame.stride[1] = 6;
    CHECK(!is_taken(frame));
    frame.stride[0] = 5, frame.matrix = -1;
    CHECK(!is_taken(frame));
}

// Against walking back and forth.
void test_reflection() {
    for (int width : {1, 2, 3, 5, 8})
        for (int height : {1, 3, 4}) {
            constexpr int kPadded = 16;
            std::vector<uint8_t> source(3 * width * height), padded(3 * kPadded * kPadded);
            fill(source.data(), source.size(), 2);
            cyclegan_frame frame = rgb_frame(source.data(), width, height);
            rgb_from_frame(frame, padded.data(), kPadded, kPadded);
            int y = 0, dy = 1;
            for (int row = 0; row < kPadded; ++row) {
                int x = 0, dx = 1;
                for (int column = 0; column < kPadded; ++column) {
                    for (int c = 0; c < 3; ++c)
                        CHECK(padded[3 * (row * kPadded + column) + c] ==
                              source[3 * (y * width + x) + c]);
                    if (x + dx < 0 || x + dx >= width) dx = -dx;
                    if (width > 1) x += dx;
                }
                if (y + dy < 0 || y + dy >= height) dy = -dy;
                if (height > 1) y += dy;
            }
        }
}

// One pixel's RGB by the formulas in floating point.
void exact_rgb(const cyclegan_frame &frame, int y, int cb, int cr, double rgb[3]) {
    const double weights[][2] = {{0.299, 0.114}, {0.2126, 0.0722}, {0.2627, 0.0593}};
    const double kr = weights[frame.matrix][0], kb = weights[frame.matrix][1];
    const double luma = frame.full_range ? y / 255. : (y - 16) / 219.;
    const double range = frame.full_range ? 255 : 224;
    rgb[0] = luma + 2 * (1 - kr) * (cr - 128) / range;
    rgb[2] = luma + 2 * (1 - kb) * (cb - 128) / range;
    rgb[1] = (luma - kr * rgb[0] - kb * rgb[2]) / (1 - kr - kb);
}

// The other way, in codes.
void exact_yuv(const cyclegan_frame &frame, const double rgb[3], double yuv[3]) {
    const double weights[][2] = {{0.299, 0.114}, {0.2126, 0.0722}, {0.2627, 0.0593}};
    const double kr = weights[frame.matrix][0], kb = weights[frame.matrix][1];
    const double luma = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2];
    const double range = frame.full_range ? 255 : 224;
    yuv[0] = frame.full_range ? luma : 16 + luma * 219 / 255;
    yuv[1] = 128 + (rgb[2] - luma) / 255 / (2 * (1 - kb)) * range;
    yuv[2] = 128 + (rgb[0] - luma) / 255 / (2 * (1 - kr)) * range;
}

bool is_code(double exact, uint8_t code) {
    return std::abs(std::clamp(exact, 0., 255.) - code) < 0.51;
}

// Luma of each pixel, and chroma of the mean of those that share it, fewer at an odd end.
void check_colours(Buffer &buffer, int across, int down) {
    const int width = buffer.frame.width, height = buffer.frame.height;
    std::vector<uint8_t> colours(3 * width * height);
    fill(colours.data(), colours.size(), 6);
    frame_from_rgb(buffer.frame, colours.data(), width);
    for (int top = 0; top < height; top += down)
        for (int left = 0; left < width; left += across) {
            double mean[3] = {}, yuv[3];
            const int bottom = std::min(top + down, height), right = std::min(left + across, width);
            for (int y = top; y < bottom; ++y)
                for (int x = left; x < right; ++x) {
                    double rgb[3];
                    for (int c = 0; c < 3; ++c) {
                        rgb[c] = colours[3 * (y * width + x) + c];
                        mean[c] += rgb[c] / ((bottom - top) * (right - left));
                    }
                    exact_yuv(buffer.frame, rgb, yuv);
                    CHECK(is_code(yuv[0], buffer.first[y * buffer.stride + x]));
                }
            exact_yuv(buffer.frame, mean, yuv);
            const uint8_t *chroma = &buffer.second[top / down * buffer.stride + left / across * 2];
            CHECK(is_code(yuv[1], chroma[0]) && is_code(yuv[2], chroma[1]));
        }
}

// `across` and `down`: pixels that a sample of chroma counts for.
void test_luma_and_chroma(cyclegan_format format, int across, int down) {
    for (int matrix = 0; matrix < 3; ++matrix)
        for (int full = 0; full < 2; ++full) {
            constexpr int kWidth = 31, kHeight = 17;
            Buffer buffer(kWidth, kHeight, format, 1);
            buffer.frame.matrix = matrix, buffer.frame.full_range = full;
            fill(buffer.first.data(), buffer.first.size(), 4);
            fill(buffer.second.data(), buffer.second.size(), 5);
            std::vector<uint8_t> rgb(3 * kWidth * kHeight);
            rgb_from_frame(buffer.frame, rgb.data(), kWidth, kHeight);
            for (int y = 0; y < kHeight; ++y)
                for (int x = 0; x < kWidth; ++x) {
                    const uint8_t *chroma =
                        &buffer.second[y / down * buffer.stride + x / across * 2];
                    double exact[3];
                    exact_rgb(buffer.frame, buffer.first[y * buffer.stride + x], chroma[0],
                              chroma[1], exact);
                    for (int c = 0; c < 3; ++c)
                        CHECK(std::abs(std::clamp(exact[c], 0., 1.) * 255 -
                                       rgb[3 * (y * kWidth + x) + c]) < 0.51);
                }
            check_colours(buffer, across, down);
            // There and back: greys exactly, and pictures of flat chroma to what 8 bits hold.
            for (int grey = 0; grey < 256; ++grey) {
                std::vector<uint8_t> flat(rgb.size(), static_cast<uint8_t>(grey));
                frame_from_rgb(buffer.frame, flat.data(), kWidth);
                CHECK(buffer.second[0] == 128 && buffer.second[1] == 128);
                CHECK(buffer.first[0] == std::lround(full ? grey : 16 + grey * 219. / 255));
                rgb_from_frame(buffer.frame, rgb.data(), kWidth, kHeight);
                CHECK(std::abs(rgb.back() - grey) <= !full);
            }
        }
}

}  // namespace

int main() {
    test_sha256();
    test_text_that_has_to_fit();
    test_json();
    test_packed_formats_and_strides();
    test_the_largest_and_smallest_frames();
    test_reflection();
    test_luma_and_chroma(CYCLEGAN_NV12, 2, 2);
    test_luma_and_chroma(CYCLEGAN_NV16, 2, 1);
    test_luma_and_chroma(CYCLEGAN_NV24, 1, 1);
}
