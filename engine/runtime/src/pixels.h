// Frames in their formats <-> packed RGB, which the networks take: 3 width bytes a row.
#pragma once

#include <cstdint>

#include "cyclegan/cyclegan.h"

namespace cyclegan {

inline constexpr int kLargestSide = 16384;

// Throws Error with ARGUMENT or SIZE where the frame cannot be read or written as it says.
// `name` is what the message calls it.
void check_frame(const cyclegan_frame *frame, const char *name);

// The frame as packed RGB of padded_width x padded_height, at least its own size: what it lacks at
// the right and at the bottom is reflected about its last column and row, again and again.
void rgb_from_frame(const cyclegan_frame &frame, uint8_t *rgb, int padded_width, int padded_height);

// The top left of packed RGB that is padded_width wide, in the format of the frame.
void frame_from_rgb(const cyclegan_frame &frame, const uint8_t *rgb, int padded_width);

}  // namespace cyclegan
