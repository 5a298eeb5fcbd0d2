/* A thread that is cancelled inside a call finishes the call first, and only that thread ends. */
#define _GNU_SOURCE
#include <pthread.h>

#include "check.h"

enum { WIDTH = 320, HEIGHT = 240, SLOTS = 4 };

static cyclegan_translator *translator;
static cyclegan_ticket last;
static int has_returned;

static void *wait_for_the_last(void *unused) {
    CHECK(cyclegan_wait(translator, last, -1) == CYCLEGAN_OK);
    has_returned = 1;
    pthread_testcancel();
    return unused;
}

static void *close_it(void *unused) {
    cyclegan_close(&translator);
    has_returned = 1;
    pthread_testcancel();
    return unused;
}

/* Frames are in flight for longer than a thread takes to come to the call, cancelled as it is. */
static void cancel_in(void *(*call)(void *)) {
    static uint8_t pixels[WIDTH * HEIGHT * 3];
    const cyclegan_frame frame = rgb_frame(pixels, WIDTH, HEIGHT);
    cyclegan_settings settings;
    pthread_t thread;
    void *result;
    CHECK(cyclegan_default_settings(&settings, sizeof settings) == CYCLEGAN_OK);
    settings.slots = SLOTS, settings.threads = 1;
    CHECK(cyclegan_open(&translator, test_model(), &settings) == CYCLEGAN_OK);
    for (int i = 0; i < SLOTS; ++i)
        CHECK(cyclegan_submit(translator, &frame, &last) == CYCLEGAN_OK);
    has_returned = 0;
    CHECK(pthread_create(&thread, NULL, call, NULL) == 0 && pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && has_returned);
    cyclegan_close(&translator);
}

int main(void) {
    cancel_in(wait_for_the_last);
    cancel_in(close_it);
    return 0;
}
