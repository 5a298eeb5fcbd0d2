/* What the tests share: CHECK ends the test where a condition does not hold. */
#ifndef CHECK_H
#define CHECK_H

#include <cyclegan/cyclegan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, __LINE__, \
                    #condition, cyclegan_last_error(NULL));                                \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

/* The model that all tests run: a generator that takes multiples of 4. */
static inline const char *test_model(void) {
    const char *path = getenv("CYCLEGAN_TEST_MODEL");
    if (!path) {
        fputs("set CYCLEGAN_TEST_MODEL to a small .onnx file of `cyclegan export`\n", stderr);
        exit(1);
    }
    return path;
}

static inline cyclegan_frame rgb_frame(uint8_t *pixels, int width, int height) {
    cyclegan_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.width = width;
    frame.height = height;
    frame.data[0] = pixels;
    frame.stride[0] = (size_t)width * 3;
    return frame;
}

static inline void fill(uint8_t *pixels, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(seed >> 24);
    }
}

#endif
