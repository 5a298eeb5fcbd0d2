/* Everything that a caller can get wrong: a status and a sentence each, and never a crash. */
#define _GNU_SOURCE
#include <limits.h>

#include "check.h"

enum { WIDTH = 24, HEIGHT = 20 };

static uint8_t pixels[WIDTH * HEIGHT * 4], results[WIDTH * HEIGHT * 4];
static cyclegan_translator *translator;

static void check_says(const cyclegan_translator *handle, const char *words) {
    if (strstr(cyclegan_last_error(handle), words)) return;
    fprintf(stderr, "expected \"%s\" in \"%s\"\n", words, cyclegan_last_error(handle));
    abort();
}

static void test_null_anywhere(void) {
    cyclegan_frame frame = rgb_frame(pixels, WIDTH, HEIGHT);
    cyclegan_info info;
    cyclegan_ticket ticket = 7;
    cyclegan_translator *nothing = translator;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    CHECK(cyclegan_default_settings(NULL, sizeof(cyclegan_settings)) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_open(NULL, test_model(), NULL) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_open(&nothing, NULL, NULL) == CYCLEGAN_ERROR_ARGUMENT && !nothing);
    cyclegan_close(NULL);
    cyclegan_close(&nothing);
    CHECK(cyclegan_query(NULL, &info) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_query(translator, NULL) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_translate(NULL, &frame, &frame) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_translate(translator, NULL, &frame) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_translate(translator, &frame, NULL) == CYCLEGAN_ERROR_ARGUMENT);
    check_says(translator, "target is NULL");
    CHECK(cyclegan_submit(NULL, &frame, &ticket) == CYCLEGAN_ERROR_ARGUMENT && ticket == 0);
    CHECK(cyclegan_submit(translator, NULL, &ticket) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_submit(translator, &frame, NULL) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_done(NULL, 1) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_wait(NULL, 1, 0) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_collect(NULL, 1, &frame) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_collect(translator, 1, NULL) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_cancel(NULL, 1) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_translate_device(NULL, &frame, &frame, NULL) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_translate_device(translator, NULL, &frame, NULL) == CYCLEGAN_ERROR_ARGUMENT);
    frame.data[0] = NULL;
    CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_ERROR_ARGUMENT);
    check_says(translator, "source: data[0] is NULL");
}

static cyclegan_frame good;

static void refuse(cyclegan_frame bad, cyclegan_status status, const char *words) {
    cyclegan_ticket ticket;
    CHECK(cyclegan_translate(translator, &bad, &good) == status);
    check_says(translator, words);
    CHECK(cyclegan_submit(translator, &bad, &ticket) == status && ticket == 0);
    CHECK(cyclegan_translate(translator, &good, &bad) == status);
    CHECK(cyclegan_translate_device(translator, &bad, &good, NULL) < 0);
    CHECK(cyclegan_submit(translator, &good, &ticket) == CYCLEGAN_OK);
    CHECK(cyclegan_collect(translator, ticket, &bad) == status);
    CHECK(cyclegan_collect(translator, ticket, &good) == CYCLEGAN_OK);
}

#define REFUSE(change, status, words)                        \
    do {                                                     \
        cyclegan_frame bad = rgb_frame(pixels, WIDTH, HEIGHT); \
        change;                                              \
        refuse(bad, status, words);                          \
    } while (0)

static void test_frames(void) {
    cyclegan_frame narrow = rgb_frame(pixels, WIDTH - 4, HEIGHT);
    good = rgb_frame(pixels, WIDTH, HEIGHT);
    CHECK(cyclegan_translate(translator, &narrow, &good) == CYCLEGAN_ERROR_SIZE);
    check_says(translator, "expected one size");
    REFUSE(bad.struct_size = 0, CYCLEGAN_ERROR_ARGUMENT, "struct_size is 0");
    REFUSE(bad.struct_size += 8, CYCLEGAN_ERROR_ARGUMENT, "struct_size is");
    REFUSE(bad.width = 0, CYCLEGAN_ERROR_SIZE, "is 0x20");
    REFUSE(bad.height = -4, CYCLEGAN_ERROR_SIZE, "is 24x-4");
    REFUSE(bad.width = 16385, CYCLEGAN_ERROR_SIZE, "is 16385x20");
    REFUSE(bad.height = INT32_MAX, CYCLEGAN_ERROR_SIZE, "expected sides from 1 to");
    REFUSE(bad.stride[0] -= 1, CYCLEGAN_ERROR_ARGUMENT, "stride[0] is 71 bytes; a row");
    REFUSE(bad.stride[0] = SIZE_MAX, CYCLEGAN_ERROR_ARGUMENT, "more than memory holds");
    REFUSE(bad.format = 6, CYCLEGAN_ERROR_ARGUMENT, "unknown format 6");
    REFUSE(bad.format = -1, CYCLEGAN_ERROR_ARGUMENT, "unknown format -1");
    REFUSE(bad.format = CYCLEGAN_RGBA8, CYCLEGAN_ERROR_ARGUMENT, "stride[0] is 72 bytes");
    REFUSE(bad.format = CYCLEGAN_NV12, CYCLEGAN_ERROR_ARGUMENT, "data[1] is NULL");
    REFUSE(bad.reserved[3] = 1, CYCLEGAN_ERROR_ARGUMENT, "reserved room");
    REFUSE(bad.reserved0 = 1, CYCLEGAN_ERROR_ARGUMENT, "reserved room");
    REFUSE((bad.format = CYCLEGAN_NV12, bad.data[1] = results, bad.stride[1] = 24, bad.matrix = 3),
           CYCLEGAN_ERROR_ARGUMENT, "unknown matrix 3");
    REFUSE((bad.format = CYCLEGAN_NV12, bad.data[1] = results, bad.stride[1] = 23),
           CYCLEGAN_ERROR_ARGUMENT, "stride[1] is 23 bytes");
    REFUSE((bad.format = CYCLEGAN_NV16, bad.data[1] = results, bad.stride[1] = 23),
           CYCLEGAN_ERROR_ARGUMENT, "stride[1] is 23 bytes");
    REFUSE((bad.format = CYCLEGAN_NV24, bad.data[1] = results, bad.stride[1] = 47),
           CYCLEGAN_ERROR_ARGUMENT, "a row of 24 pixels has 48");
    REFUSE((bad.format = CYCLEGAN_NV12, bad.data[1] = results, bad.stride[1] = 24,
            bad.full_range = 2),
           CYCLEGAN_ERROR_ARGUMENT, "full_range is 2");
    CHECK(cyclegan_translate_device(translator, &good, &good, NULL) == CYCLEGAN_ERROR_UNSUPPORTED);
    check_says(translator, "use cyclegan_translate");
}

static void test_misaligned_structs(void) {
    uint64_t room[64] = {0};
    cyclegan_frame *crooked = (cyclegan_frame *)(void *)((char *)room + 1);
    cyclegan_settings *settings = (cyclegan_settings *)(void *)((char *)room + 1);
    cyclegan_translator *opened;
    memcpy(crooked, &good, sizeof good);
    CHECK(cyclegan_translate(translator, crooked, &good) == CYCLEGAN_ERROR_ARGUMENT);
    check_says(translator, "misaligned");
    CHECK(cyclegan_open(&opened, test_model(), settings) == CYCLEGAN_ERROR_ARGUMENT && !opened);
    CHECK(cyclegan_query(translator, (cyclegan_info *)(void *)crooked) == CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_open((cyclegan_translator **)(void *)crooked, test_model(), NULL) ==
          CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_submit(translator, &good, (cyclegan_ticket *)(void *)crooked) ==
          CYCLEGAN_ERROR_ARGUMENT);
    CHECK(cyclegan_default_settings(settings, sizeof *settings) == CYCLEGAN_ERROR_ARGUMENT);
    cyclegan_close((cyclegan_translator **)(void *)crooked);
    /* Pixels need no alignment. */
    good.data[0] = pixels + 1;
    CHECK(cyclegan_translate(translator, &good, &good) == CYCLEGAN_OK);
}

static void refuse_settings(cyclegan_settings bad, const char *words) {
    cyclegan_translator *opened = translator;
    CHECK(cyclegan_open(&opened, test_model(), &bad) < 0 && !opened);
    check_says(NULL, words);
}

#define REFUSE_SETTINGS(change, words)                                                \
    do {                                                                              \
        cyclegan_settings bad;                                                        \
        CHECK(cyclegan_default_settings(&bad, sizeof bad) == CYCLEGAN_OK);            \
        change;                                                                       \
        refuse_settings(bad, words);                                                  \
    } while (0)

static void test_settings(void) {
    cyclegan_settings settings;
    CHECK(cyclegan_default_settings(&settings, 8) == CYCLEGAN_ERROR_ARGUMENT);
    REFUSE_SETTINGS(bad.struct_size = 4, "struct_size is 4");
    REFUSE_SETTINGS(bad.backend = 3, "backend is 3");
    REFUSE_SETTINGS(bad.backend = CYCLEGAN_TENSORRT, "cyclegan build");
    REFUSE_SETTINGS(bad.precision = -1, "precision is -1");
    REFUSE_SETTINGS(bad.width = 64, "set both sides or none");
    REFUSE_SETTINGS(bad.height = bad.width = -1, "width is -1");
    REFUSE_SETTINGS(bad.slots = 17, "slots is 17");
    REFUSE_SETTINGS(bad.threads = -1, "threads is -1");
    REFUSE_SETTINGS(bad.device = "TOASTER", "TOASTER");
    REFUSE_SETTINGS(bad.device = "", "device is empty; set a name");
    REFUSE_SETTINGS(bad.cache_folder = "", "cache_folder is empty; set a folder, or NULL for none");
    REFUSE_SETTINGS(bad.reserved[0] = 1, "reserved room");
}

static void test_one_size(void) {
    cyclegan_translator *one = NULL;
    cyclegan_settings settings;
    cyclegan_info info;
    cyclegan_frame fits = rgb_frame(pixels, 22, 19), other = rgb_frame(pixels, 16, 20);
    CHECK(cyclegan_default_settings(&settings, sizeof settings) == CYCLEGAN_OK);
    settings.width = 24, settings.height = 20, settings.slots = 3, settings.threads = 1;
    CHECK(cyclegan_open(&one, test_model(), &settings) == CYCLEGAN_OK);
    CHECK(cyclegan_translate(one, &fits, &fits) == CYCLEGAN_OK);
    CHECK(cyclegan_translate(one, &other, &other) == CYCLEGAN_ERROR_SIZE);
    check_says(one, "opened for 24x20");
    memset(&info, 0, sizeof info);
    CHECK(cyclegan_query(one, &info) == CYCLEGAN_ERROR_ARGUMENT);
    info.struct_size = sizeof info;
    CHECK(cyclegan_query(one, &info) == CYCLEGAN_OK);
    CHECK(info.backend == CYCLEGAN_OPENVINO && info.slots == 3 && info.size_multiple == 4);
    CHECK(info.width == 24 && info.height == 20 && info.formats == 63);
    CHECK(strlen(info.weights_sha256) == 64 && strstr(info.description, "OpenVINO"));
    cyclegan_close(&one);
    CHECK(!one);
}

static void test_use_after_close(void) {
    cyclegan_frame frame = rgb_frame(pixels, WIDTH, HEIGHT);
    cyclegan_translator *closed = NULL, *copy;
    cyclegan_ticket ticket;
    CHECK(cyclegan_open(&closed, test_model(), NULL) == CYCLEGAN_OK);
    copy = closed;
    CHECK(cyclegan_submit(copy, &frame, &ticket) == CYCLEGAN_OK);
    cyclegan_close(&closed);
    CHECK(cyclegan_translate(copy, &frame, &frame) == CYCLEGAN_ERROR_HANDLE);
    check_says(copy, "was closed");
    CHECK(cyclegan_submit(copy, &frame, &ticket) == CYCLEGAN_ERROR_HANDLE);
    CHECK(cyclegan_collect(copy, ticket, &frame) == CYCLEGAN_ERROR_HANDLE);
    CHECK(cyclegan_done(copy, ticket) == CYCLEGAN_ERROR_HANDLE);
    CHECK(cyclegan_wait(copy, ticket, -1) == CYCLEGAN_ERROR_HANDLE);
    CHECK(cyclegan_cancel(copy, ticket) == CYCLEGAN_ERROR_HANDLE);
    CHECK(cyclegan_translate_device(copy, &frame, &frame, copy) == CYCLEGAN_ERROR_HANDLE);
    CHECK(cyclegan_query(copy, NULL) == CYCLEGAN_ERROR_HANDLE);
    cyclegan_close(&copy); /* once more */
    CHECK(!copy);
    copy = (cyclegan_translator *)(void *)pixels;
    CHECK(cyclegan_translate(copy, &frame, &frame) == CYCLEGAN_ERROR_HANDLE);
}

static void count_lines(void *user, cyclegan_log_level level, const char *message) {
    CHECK(level == CYCLEGAN_LOG_INFO && strstr(message, "OpenVINO"));
    ++*(int *)user;
}

static void test_log(void) {
    cyclegan_translator *opened = NULL;
    cyclegan_settings settings;
    int lines = 0;
    CHECK(cyclegan_default_settings(&settings, sizeof settings) == CYCLEGAN_OK);
    settings.log = count_lines, settings.log_user = &lines;
    CHECK(cyclegan_open(&opened, test_model(), &settings) == CYCLEGAN_OK);
    cyclegan_close(&opened);
    CHECK(lines == 1);
}

int main(void) {
    CHECK(cyclegan_version() == (CYCLEGAN_VERSION_MAJOR << 16 | CYCLEGAN_VERSION_MINOR << 8 |
                                 CYCLEGAN_VERSION_PATCH));
    CHECK(!strcmp(cyclegan_status_string(CYCLEGAN_ERROR_INTERNAL), "internal error"));
    CHECK(!strcmp(cyclegan_status_string((cyclegan_status)-14), "unknown status"));
    CHECK(!strcmp(cyclegan_status_string((cyclegan_status)INT_MIN), "unknown status"));
    fill(pixels, sizeof pixels, 1);
    CHECK(cyclegan_open(&translator, test_model(), NULL) == CYCLEGAN_OK);
    CHECK(!*cyclegan_last_error(translator));
    test_null_anywhere();
    test_frames();
    test_misaligned_structs();
    test_settings();
    test_one_size();
    test_use_after_close();
    test_log();
    cyclegan_close(&translator);
    return 0;
}
