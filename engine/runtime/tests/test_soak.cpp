// Many frames, of one size and of many, through one translator: memory stays flat. test_soak [FRAMES [KIBIBYTES]]
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <vector>

#include "check.h"

namespace {

long resident_bytes() {
    long pages = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

void translate(cyclegan_translator *translator, int frames) {
    std::vector<uint8_t> pixels(3 * 32 * 32);
    const cyclegan_frame frame = rgb_frame(pixels.data(), 32, 32);
    cyclegan_ticket tickets[2] = {};
    for (int i = 0; i < frames; ++i) {
        cyclegan_ticket &ticket = tickets[i % 2];
        if (i >= 2) CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_OK);
        CHECK(cyclegan_submit(translator, &frame, &ticket) == CYCLEGAN_OK);
        CHECK(cyclegan_collect(translator, 0, &frame) == CYCLEGAN_ERROR_TICKET);
    }
    for (cyclegan_ticket ticket : tickets)
        CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_OK);
}

// One frame of each of ``count`` sizes, the ``first`` of all sizes and those after it.
void translate_sizes(cyclegan_translator *translator, int first, int count) {
    std::vector<uint8_t> pixels(3 * 144 * 144);
    for (int i = first; i < first + count; ++i) {
        const cyclegan_frame frame = rgb_frame(pixels.data(), 16 + 4 * (i % 32), 16 + 4 * (i / 32));
        cyclegan_ticket ticket = 0;
        CHECK(cyclegan_submit(translator, &frame, &ticket) == CYCLEGAN_OK);
        CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_OK);
    }
}

}  // namespace

int main(int count, char **arguments) {
    const int frames = count > 1 ? atoi(arguments[1]) : 2000;
    cyclegan_translator *translator = nullptr;
    CHECK(cyclegan_open(&translator, test_model(), nullptr) == CYCLEGAN_OK);
    translate(translator, frames / 10);
    const long before = resident_bytes();
    const auto start = std::chrono::steady_clock::now();
    translate(translator, frames);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const long growth = resident_bytes() - before;
    printf("%d frames in %.1f s: %ld KiB in memory before, %ld KiB more after\n", frames,
           seconds.count(), before / 1024, growth / 1024);
    // A sanitizer keeps what was freed, and knows leaks better.
    CHECK(growth < (count > 2 ? atol(arguments[2]) : 1024) * 1024);
    if (count <= 2) {
        // Kernels for sizes seen before are kept, but not for all of them: that takes 230 MiB here,
        // and this 10 to 40, by how the threads take turns.
        translate_sizes(translator, 0, 300);
        const long many = resident_bytes();
        translate_sizes(translator, 300, 150);
        printf("%ld MiB more after 150 more sizes\n", (resident_bytes() - many) >> 20);
        CHECK(resident_bytes() - many < (100L << 20));
    }
    cyclegan_close(&translator);
}
