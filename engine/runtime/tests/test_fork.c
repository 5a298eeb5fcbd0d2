/* Models are opened in processes that were forked: they run there, or are refused, and never hang. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { WIDTH = 40, HEIGHT = 32 };

static uint8_t wanted[WIDTH * HEIGHT * 3], pixels[sizeof wanted];

static void translate(cyclegan_translator *translator, uint8_t *into) {
    const cyclegan_frame frame = rgb_frame(into, WIDTH, HEIGHT);
    fill(into, sizeof wanted, 3);
    CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_OK);
}

static void in_a_process(void (*work)(int), int closed) {
    int status;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60); /* rather than to hang */
        work(closed);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void open_another(int closed) {
    cyclegan_translator *translator;
    const cyclegan_status status = cyclegan_open(&translator, test_model(), NULL);
    CHECK(status == (closed ? CYCLEGAN_ERROR_BACKEND : CYCLEGAN_OK));
    if (closed) {
        CHECK(strstr(cyclegan_last_error(NULL), "fork before the first cyclegan_close"));
        return;
    }
    translate(translator, pixels);
    CHECK(!memcmp(pixels, wanted, sizeof wanted));
    cyclegan_close(&translator); /* its own, after which it may open more */
    CHECK(cyclegan_open(&translator, test_model(), NULL) == CYCLEGAN_OK);
    cyclegan_close(&translator);
}

static void fail_to_open(void) {
    cyclegan_translator *translator;
    cyclegan_settings settings;
    CHECK(cyclegan_default_settings(&settings, sizeof settings) == CYCLEGAN_OK);
    settings.device = "TOASTER";
    CHECK(cyclegan_open(&translator, test_model(), &settings) == CYCLEGAN_ERROR_BACKEND);
}

static void open_and_fork(int closed) {
    cyclegan_translator *translator;
    fail_to_open(); /* before it made anything, and so without a trace */
    CHECK(cyclegan_open(&translator, test_model(), NULL) == CYCLEGAN_OK);
    translate(translator, wanted);
    if (closed) cyclegan_close(&translator);
    in_a_process(open_another, closed);
}

static void *poll_for_ever(void *translator) {
    cyclegan_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    for (;;) CHECK(cyclegan_query(translator, &info) == CYCLEGAN_OK);
    return NULL;
}

static cyclegan_translator *polled;

static void be_refused(int unused) {
    const cyclegan_frame frame = rgb_frame(pixels, WIDTH, HEIGHT);
    (void)unused;
    CHECK(cyclegan_translate(polled, &frame, &frame) == CYCLEGAN_ERROR_HANDLE);
    cyclegan_close(&polled);
}

static void fork_while_a_thread_polls(int unused) {
    pthread_t thread;
    (void)unused;
    CHECK(cyclegan_open(&polled, test_model(), NULL) == CYCLEGAN_OK);
    CHECK(pthread_create(&thread, NULL, poll_for_ever, polled) == 0);
    for (int round = 0; round < 200; ++round) in_a_process(be_refused, 0);
}

int main(void) {
    for (int closed = 0; closed < 2; ++closed) in_a_process(open_and_fork, closed);
    in_a_process(fork_while_a_thread_polls, 0);
    return 0;
}
