// The process may have no more memory: every call reports it, and all is well once there is some.
// Unlike test_memory, this starves OpenVINO too. Not under sanitizers, which need much room.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "check.h"

namespace {

constexpr int kWidth = 640, kHeight = 480;

// What the heap keeps of one test, and what OpenVINO has lost in it, is no other's.
void in_a_process(void (*test)(long), long kibibytes) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test(kibibytes);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// Memory that the process may still take, beyond what it has.
void leave(long kibibytes) {
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = static_cast<rlim_t>(pages) * sysconf(_SC_PAGESIZE) + kibibytes * 1024;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

void lift() {
    rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

cyclegan_translator *opened(bool one_size) {
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    settings.threads = 1;
    if (one_size) settings.width = kWidth, settings.height = kHeight;
    cyclegan_translator *translator = nullptr;
    CHECK(cyclegan_open(&translator, test_model(), &settings) == CYCLEGAN_OK);
    return translator;
}

std::vector<uint8_t> pixels(3 * kWidth * kHeight);  // before there is no more memory

cyclegan_status translate(cyclegan_translator *translator, int height = kHeight) {
    const cyclegan_frame frame = rgb_frame(pixels.data(), kWidth, height);
    return cyclegan_translate(translator, &frame, &frame);
}

bool lacked_memory(cyclegan_translator *translator, cyclegan_status status) {
    if (status == CYCLEGAN_ERROR_MEMORY && strstr(cyclegan_last_error(translator), "out of memory"))
        return true;
    fprintf(stderr, "status %d: %s\n", status, cyclegan_last_error(translator));
    return false;
}

void test_a_frame(long kibibytes) {
    cyclegan_translator *translator = opened(false);
    leave(kibibytes);
    const cyclegan_status status = translate(translator);
    lift();
    CHECK(lacked_memory(translator, status));
    // What could not be made for frames of this size may stay so.
    const cyclegan_status again = translate(translator);
    CHECK(again == CYCLEGAN_OK || lacked_memory(translator, again));
    cyclegan_close(&translator);
    translator = opened(false);
    CHECK(translate(translator, kHeight / 2) == CYCLEGAN_OK);
    cyclegan_close(&translator);
}

void test_a_frame_of_one_size_needs_no_more(long kibibytes) {
    cyclegan_translator *translator = opened(true);
    leave(kibibytes);
    const cyclegan_status status = translate(translator);
    lift();
    CHECK(status == CYCLEGAN_OK);
    cyclegan_close(&translator);
}

void test_opening(long kibibytes) {
    cyclegan_translator *translator = nullptr;
    leave(kibibytes);
    const cyclegan_status status = cyclegan_open(&translator, test_model(), nullptr);
    lift();
    // Without memory for its stack a thread is not started; OpenVINO says no more than that.
    CHECK(status == CYCLEGAN_ERROR_MEMORY || status == CYCLEGAN_ERROR_BACKEND);
    CHECK(!translator && *cyclegan_last_error(nullptr));
    translator = opened(false);
    CHECK(translate(translator) == CYCLEGAN_OK);
    cyclegan_close(&translator);
}

}  // namespace

int main() {
    for (long kibibytes : {0, 256, 512, 2048}) in_a_process(test_a_frame, kibibytes);
    in_a_process(test_a_frame_of_one_size_needs_no_more, 0);
    for (long kibibytes : {0, 256, 2048}) in_a_process(test_opening, kibibytes);
}
