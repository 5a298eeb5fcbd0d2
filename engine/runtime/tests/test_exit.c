/* A process may end whatever is in flight: with its own status, and not by a crash. */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { WIDTH = 320, HEIGHT = 240, SLOTS = 4, STATUS = 7 };

static void end_with_frames_in_flight(int one_size, int wait_ms) {
    static uint8_t pixels[WIDTH * HEIGHT * 3];
    const cyclegan_frame frame = rgb_frame(pixels, WIDTH, HEIGHT);
    cyclegan_translator *translator;
    cyclegan_settings settings;
    cyclegan_ticket first, last;
    CHECK(cyclegan_default_settings(&settings, sizeof settings) == CYCLEGAN_OK);
    settings.slots = SLOTS;
    if (one_size) settings.width = WIDTH, settings.height = HEIGHT;
    CHECK(cyclegan_open(&translator, test_model(), &settings) == CYCLEGAN_OK);
    CHECK(cyclegan_submit(translator, &frame, &first) == CYCLEGAN_OK);
    for (int i = 1; i < SLOTS; ++i)
        CHECK(cyclegan_submit(translator, &frame, &last) == CYCLEGAN_OK);
    if (!one_size) CHECK(cyclegan_wait(translator, first, -1) == CYCLEGAN_OK);
    cyclegan_wait(translator, last, wait_ms);
    exit(STATUS);
}

int main(int count, char **arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 8;
    for (int round = 0; round < rounds; ++round)
        for (int one_size = 0; one_size < 2; ++one_size) {
            int status;
            const pid_t child = fork();
            CHECK(child >= 0);
            if (child == 0) end_with_frames_in_flight(one_size, 2 * round);
            CHECK(waitpid(child, &status, 0) == child);
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
        }
    return 0;
}
