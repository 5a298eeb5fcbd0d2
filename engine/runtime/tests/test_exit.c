/* A process may end whatever is in flight: with its own status, and not by a crash. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
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

static cyclegan_translator *left_open;
static cyclegan_ticket first_of_all, last_of_all;

/* Every slot has a frame, the first one a small one; `check` is called after the library's own
 * handler, being before it. */
static void fill_all_slots(void (*check)(void)) {
    enum { MOST_SLOTS = 16 };
    static uint8_t pixels[WIDTH * HEIGHT * 3];
    const cyclegan_frame first = rgb_frame(pixels, 8, 8);
    const cyclegan_frame frame = rgb_frame(pixels, WIDTH, HEIGHT);
    cyclegan_settings settings;
    CHECK(atexit(check) == 0);
    CHECK(cyclegan_default_settings(&settings, sizeof settings) == CYCLEGAN_OK);
    settings.slots = MOST_SLOTS, settings.threads = 1;
    CHECK(cyclegan_open(&left_open, test_model(), &settings) == CYCLEGAN_OK);
    CHECK(cyclegan_submit(left_open, &first, &first_of_all) == CYCLEGAN_OK);
    for (int i = 1; i < MOST_SLOTS; ++i)
        CHECK(cyclegan_submit(left_open, &frame, &last_of_all) == CYCLEGAN_OK);
}

static void check_waited(void) { CHECK(cyclegan_done(left_open, last_of_all) == 1); }

/* With no call since the first frame was done, of which the time that the backend has computed
 * tells: several times what that one takes, and a part of what all take. */
static void end_without_a_call(void) {
    enum { COMPUTED_MS = 100, MOST_MS = 10000 };
    clock_t begun;
    fill_all_slots(check_waited);
    begun = clock();
    for (int ms = 0; ms < MOST_MS; ++ms) {
        if (clock() - begun >= COMPUTED_MS * (CLOCKS_PER_SEC / 1000)) break;
        usleep(1000);
    }
    exit(STATUS);
}

static atomic_int is_closed;

static void *close_it(void *translator) {
    cyclegan_close(&(cyclegan_translator *){translator});
    is_closed = 1;
    return NULL;
}

/* It is set a moment after what the library's own handler waits for. */
static void check_closed(void) {
    for (int ms = 0; ms < 100 && !is_closed; ++ms) usleep(1000);
    CHECK(is_closed);
}

/* With another thread in cyclegan_close, which waits for all frames: they take some hundred ms. */
static void end_while_a_thread_closes(void) {
    pthread_t thread;
    fill_all_slots(check_closed);
    CHECK(cyclegan_wait(left_open, first_of_all, -1) == CYCLEGAN_OK);
    CHECK(pthread_create(&thread, NULL, close_it, left_open) == 0 && pthread_detach(thread) == 0);
    while (cyclegan_done(left_open, last_of_all) != CYCLEGAN_ERROR_HANDLE) usleep(1000);
    exit(STATUS);
}

static void check_ended(pid_t child) {
    int status;
    CHECK(child >= 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
}

int main(int count, char **arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 8;
    pid_t child;
    for (int round = 0; round < rounds; ++round)
        for (int one_size = 0; one_size < 2; ++one_size) {
            if ((child = fork()) == 0) end_with_frames_in_flight(one_size, 2 * round);
            check_ended(child);
        }
    if ((child = fork()) == 0) end_without_a_call();
    check_ended(child);
    if ((child = fork()) == 0) end_while_a_thread_closes();
    check_ended(child);
    return 0;
}
