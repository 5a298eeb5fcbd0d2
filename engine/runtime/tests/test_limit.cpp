// The process may have no more memory: every call reports it, and all is well once there is some.
// Unlike test_memory, this starves OpenVINO too. Not under sanitizers, which need much room.
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "check.h"

namespace {

constexpr int kWidth = 640, kHeight = 480;

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

cyclegan_status translate(cyclegan_translator *translator) {
    const cyclegan_frame frame = rgb_frame(pixels.data(), kWidth, kHeight);
    return cyclegan_translate(translator, &frame, &frame);
}

void test_frames() {
    bool first = true;
    for (long kibibytes : {0, 256, 512, 2048}) {
        cyclegan_translator *translator = opened(false);
        leave(kibibytes);
        const cyclegan_status status = translate(translator);
        lift();
        // What the heap has kept of earlier translators may be enough for a later one.
        CHECK(status == CYCLEGAN_ERROR_MEMORY || (status == CYCLEGAN_OK && !first));
        if (status != CYCLEGAN_OK) CHECK(strstr(cyclegan_last_error(translator), "out of memory"));
        cyclegan_close(&translator);
        first = false;
    }
}

void test_frames_of_one_size_need_no_more() {
    cyclegan_translator *translator = opened(true);
    leave(0);
    const cyclegan_status status = translate(translator);
    lift();
    CHECK(status == CYCLEGAN_OK);
    cyclegan_close(&translator);
}

void test_opening() {
    for (long kibibytes : {0, 256, 2048}) {
        cyclegan_translator *translator = nullptr;
        leave(kibibytes);
        const cyclegan_status status = cyclegan_open(&translator, test_model(), nullptr);
        lift();
        // Without memory for its stack a thread is not started; OpenVINO says no more than that.
        CHECK(status == CYCLEGAN_ERROR_MEMORY || status == CYCLEGAN_ERROR_BACKEND);
        CHECK(!translator && *cyclegan_last_error(nullptr));
    }
}

}  // namespace

int main() {
    test_frames();
    test_frames_of_one_size_need_no_more();
    test_opening();
    cyclegan_translator *translator = opened(false);
    CHECK(translate(translator) == CYCLEGAN_OK);
    cyclegan_close(&translator);
}
