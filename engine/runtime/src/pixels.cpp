// YUV is ITU-R BT.601, BT.709 or BT.2020 (non-constant luminance), section "signal format" of each,
// in whole numbers with 16 binary digits behind the point:
//
//     R = luma + 2 (1 - kr) Cr     B = luma + 2 (1 - kb) Cb     luma = kr R + kg G + kb B
//
// with luma in [0, 1] and chroma in [-1/2, 1/2]. The chroma of several pixels is that of their mean.
#include "pixels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "error.h"

namespace cyclegan {
namespace {

constexpr int kOne = 1 << 16, kHalf = kOne / 2;

int bytes_of(int format) { return format == CYCLEGAN_RGBA8 ? 4 : 3; }

bool is_yuv(int format) { return format >= CYCLEGAN_NV12; }

// One sample of chroma counts for 2^across x 2^down pixels.
struct Chroma {
    explicit Chroma(int format) : across(format != CYCLEGAN_NV24), down(format == CYCLEGAN_NV12) {}
    int across, down;
};

int fixed(double value) { return static_cast<int>(std::lround(value * kOne)); }

uint8_t clamped(int value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

// A whole number >> 16, rounded to nearest, as a code.
uint8_t code(int value) { return clamped((value + kHalf) >> 16); }

struct Coding {
    explicit Coding(const cyclegan_frame &frame) {
        static constexpr double kWeights[][2] = {{0.299, 0.114}, {0.2126, 0.0722}, {0.2627, 0.0593}};
        kr = kWeights[frame.matrix][0], kb = kWeights[frame.matrix][1];
        if (frame.full_range) black = 0, luma_range = 255, chroma_range = 255;
    }
    double kr, kb;
    double luma_range = 219, chroma_range = 224;
    int black = 16;
};

struct ToRgb {
    explicit ToRgb(const Coding &c)
        : black(c.black),
          luma(fixed(255 / c.luma_range)),
          cr_r(fixed(255 / c.chroma_range * 2 * (1 - c.kr))),
          cb_b(fixed(255 / c.chroma_range * 2 * (1 - c.kb))),
          cr_g(fixed(-255 / c.chroma_range * 2 * (1 - c.kr) * c.kr / (1 - c.kr - c.kb))),
          cb_g(fixed(-255 / c.chroma_range * 2 * (1 - c.kb) * c.kb / (1 - c.kr - c.kb))) {}
    int black, luma, cr_r, cb_b, cr_g, cb_g;
};

struct FromRgb {
    explicit FromRgb(const Coding &c)
        : black(c.black),
          y{fixed(c.kr * c.luma_range / 255), 0, fixed(c.kb * c.luma_range / 255)},
          cb{-fixed(c.kr / (1 - c.kb) / 2 * c.chroma_range / 255), 0,
             fixed(c.chroma_range / 255 / 2)},
          cr{fixed(c.chroma_range / 255 / 2), 0,
             -fixed(c.kb / (1 - c.kr) / 2 * c.chroma_range / 255)} {
        // Green is the rest, so that white is white and grey has no colour.
        y[1] = fixed(c.luma_range / 255) - y[0] - y[2];
        cb[1] = -cb[0] - cb[2];
        cr[1] = -cr[0] - cr[2];
    }
    int black;
    std::array<int, 3> y, cb, cr;
};

const uint8_t *row_of(const cyclegan_frame &frame, int plane, int row) {
    return static_cast<const uint8_t *>(frame.data[plane]) + frame.stride[plane] * row;
}

uint8_t *row_to(const cyclegan_frame &frame, int plane, int row) {
    return static_cast<uint8_t *>(frame.data[plane]) + frame.stride[plane] * row;
}

void rgb_row(const cyclegan_frame &frame, const ToRgb &to_rgb, int row, uint8_t *rgb) {
    const Chroma shared(frame.format);
    const uint8_t *luma = row_of(frame, 0, row), *chroma = row_of(frame, 1, row >> shared.down);
    for (int x = 0; x < frame.width; ++x, rgb += 3) {
        const int y = (luma[x] - to_rgb.black) * to_rgb.luma;
        const uint8_t *pair = chroma + 2 * (x >> shared.across);
        const int cb = pair[0] - 128, cr = pair[1] - 128;
        rgb[0] = code(y + to_rgb.cr_r * cr);
        rgb[1] = code(y + to_rgb.cr_g * cr + to_rgb.cb_g * cb);
        rgb[2] = code(y + to_rgb.cb_b * cb);
    }
}

void rgb_row(const cyclegan_frame &frame, int row, uint8_t *rgb) {
    const uint8_t *from = row_of(frame, 0, row);
    if (frame.format == CYCLEGAN_RGB8) {
        std::memcpy(rgb, from, size_t{3} * frame.width);
        return;
    }
    const int step = bytes_of(frame.format), red = frame.format == CYCLEGAN_BGR8 ? 2 : 0;
    for (int x = 0; x < frame.width; ++x, from += step, rgb += 3)
        rgb[0] = from[red], rgb[1] = from[1], rgb[2] = from[2 - red];
}

void packed_row(const cyclegan_frame &frame, int row, const uint8_t *rgb) {
    uint8_t *to = row_to(frame, 0, row);
    if (frame.format == CYCLEGAN_RGB8) {
        std::memcpy(to, rgb, size_t{3} * frame.width);
        return;
    }
    const int step = bytes_of(frame.format), red = frame.format == CYCLEGAN_BGR8 ? 2 : 0;
    for (int x = 0; x < frame.width; ++x, to += step, rgb += 3) {
        to[red] = rgb[0], to[1] = rgb[1], to[2 - red] = rgb[2];
        if (step == 4) to[3] = 255;
    }
}

int dot(const std::array<int, 3> &weights, const int *rgb) {
    return weights[0] * rgb[0] + weights[1] * rgb[1] + weights[2] * rgb[2];
}

void luma_row(const cyclegan_frame &frame, const FromRgb &from_rgb, int row, const uint8_t *rgb) {
    uint8_t *to = row_to(frame, 0, row);
    for (int x = 0; x < frame.width; ++x, rgb += 3) {
        const int pixel[] = {rgb[0], rgb[1], rgb[2]};
        to[x] = code((from_rgb.black << 16) + dot(from_rgb.y, pixel));
    }
}

// One row of chroma, from two rows of RGB: the same one where each has chroma of its own, and at the
// end of an odd height.
void chroma_row(const cyclegan_frame &frame, const FromRgb &from_rgb, int row, const uint8_t *upper,
                const uint8_t *lower) {
    const int across = Chroma(frame.format).across;
    uint8_t *to = row_to(frame, 1, row);
    for (int x = 0; x < frame.width; x += 1 << across, to += 2) {
        const int left = 3 * x, right = 3 * std::min(x + across, frame.width - 1);
        int sum[3];
        for (int c = 0; c < 3; ++c)
            sum[c] = upper[left + c] + upper[right + c] + lower[left + c] + lower[right + c];
        const int zero = (128 << 18) + 2 * kOne;  // and half a step, for rounding
        to[0] = clamped((zero + dot(from_rgb.cb, sum)) >> 18);
        to[1] = clamped((zero + dot(from_rgb.cr, sum)) >> 18);
    }
}

// Where the reflection of index `i` about 0 and `count - 1` lies.
int reflected(int i, int count) {
    if (count == 1) return 0;
    i %= 2 * (count - 1);
    return std::min(i, 2 * (count - 1) - i);
}

void check_plane(const cyclegan_frame &frame, const char *name, int plane, int row_bytes) {
    if (!frame.data[plane])
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s: data[%d] is NULL", name, plane);
    if (frame.stride[plane] < static_cast<size_t>(row_bytes))
        fail(CYCLEGAN_ERROR_ARGUMENT,
             "%s: stride[%d] is %zu bytes; a row of %d pixels has %d", name, plane,
             frame.stride[plane], frame.width, row_bytes);
    if (frame.stride[plane] > PTRDIFF_MAX / kLargestSide)
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s: stride[%d] is %zu bytes, more than memory holds", name,
             plane, frame.stride[plane]);
}

}  // namespace

void check_frame(const cyclegan_frame *frame, const char *name) {
    if (!frame) fail(CYCLEGAN_ERROR_ARGUMENT, "%s is NULL", name);
    if (reinterpret_cast<uintptr_t>(frame) % alignof(cyclegan_frame))
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s is at a misaligned address", name);
    if (frame->struct_size != sizeof *frame)
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s: struct_size is %zu; expected %zu", name,
             frame->struct_size, sizeof *frame);
    if (frame->width < 1 || frame->height < 1 || frame->width > kLargestSide ||
        frame->height > kLargestSide)
        fail(CYCLEGAN_ERROR_SIZE, "%s is %dx%d; expected sides from 1 to %d", name, frame->width,
             frame->height, kLargestSide);
    if (frame->format < CYCLEGAN_RGB8 || frame->format > CYCLEGAN_NV24)
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s: unknown format %d", name, frame->format);
    for (uintptr_t word : frame->reserved)
        if (word || frame->reserved0)
            fail(CYCLEGAN_ERROR_ARGUMENT, "%s: the reserved room is not zero", name);
    if (!is_yuv(frame->format))
        return check_plane(*frame, name, 0, bytes_of(frame->format) * frame->width);
    if (frame->matrix < CYCLEGAN_BT601 || frame->matrix > CYCLEGAN_BT2020)
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s: unknown matrix %d", name, frame->matrix);
    if (frame->full_range != 0 && frame->full_range != 1)
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s: full_range is %d; expected 0 or 1", name,
             frame->full_range);
    check_plane(*frame, name, 0, frame->width);
    const int across = Chroma(frame->format).across;
    check_plane(*frame, name, 1, 2 * ((frame->width + across) >> across));
}

void rgb_from_frame(const cyclegan_frame &frame, uint8_t *rgb, int padded_width,
                    int padded_height) {
    const size_t stride = size_t{3} * padded_width;
    const bool yuv = is_yuv(frame.format);
    const ToRgb to_rgb{Coding(yuv ? frame : cyclegan_frame{})};
    for (int row = 0; row < frame.height; ++row) {
        uint8_t *to = rgb + stride * row;
        yuv ? rgb_row(frame, to_rgb, row, to) : rgb_row(frame, row, to);
        for (int x = frame.width; x < padded_width; ++x)
            std::memcpy(to + 3 * x, to + 3 * reflected(x, frame.width), 3);
    }
    for (int row = frame.height; row < padded_height; ++row)
        std::memcpy(rgb + stride * row, rgb + stride * reflected(row, frame.height), stride);
}

void frame_from_rgb(const cyclegan_frame &frame, const uint8_t *rgb, int padded_width) {
    const size_t stride = size_t{3} * padded_width;
    if (!is_yuv(frame.format)) {
        for (int row = 0; row < frame.height; ++row) packed_row(frame, row, rgb + stride * row);
        return;
    }
    const FromRgb from_rgb{Coding(frame)};
    for (int row = 0; row < frame.height; ++row) luma_row(frame, from_rgb, row, rgb + stride * row);
    const int down = Chroma(frame.format).down;
    for (int row = 0; row < frame.height; row += 1 << down)
        chroma_row(frame, from_rgb, row >> down, rgb + stride * row,
                   rgb + stride * std::min(row + down, frame.height - 1));
}

}  // namespace cyclegan
