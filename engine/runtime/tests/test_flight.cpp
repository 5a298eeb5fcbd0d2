// Frames in flight: order, slots, threads, and closing while all of that goes on.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cyclegan/cyclegan.hpp>
#include <thread>
#include <vector>

#include "check.h"

namespace {

constexpr int kWidth = 40, kHeight = 32, kBytes = kWidth * kHeight * 3;

struct Picture {
    explicit Picture(unsigned seed = 0) : pixels(kBytes) { fill(pixels.data(), kBytes, seed); }
    cyclegan_frame frame() { return rgb_frame(pixels.data(), kWidth, kHeight); }
    std::vector<uint8_t> pixels;
};

cyclegan_translator *opened(int slots) {
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    settings.slots = slots;
    settings.threads = 1;
    cyclegan_translator *translator = nullptr;
    CHECK(cyclegan_open(&translator, test_model(), &settings) == CYCLEGAN_OK);
    return translator;
}

std::vector<uint8_t> expected(cyclegan_translator *translator, unsigned seed) {
    Picture picture(seed);
    const cyclegan_frame frame = picture.frame();
    cyclegan_status status;
    while ((status = cyclegan_translate(translator, &frame, &frame)) == CYCLEGAN_ERROR_BUSY)
        std::this_thread::yield();
    CHECK(status == CYCLEGAN_OK);
    return picture.pixels;
}

void test_tickets() {
    cyclegan_translator *translator = opened(3);
    std::vector<cyclegan_ticket> tickets(3);
    Picture picture, result;
    cyclegan_frame from = picture.frame(), to = result.frame();
    for (unsigned i = 0; i < 3; ++i) {
        fill(picture.pixels.data(), kBytes, i);
        CHECK(cyclegan_submit(translator, &from, &tickets[i]) == CYCLEGAN_OK && tickets[i]);
    }
    cyclegan_ticket more;
    CHECK(cyclegan_submit(translator, &from, &more) == CYCLEGAN_ERROR_BUSY && !more);
    CHECK(cyclegan_translate(translator, &from, &to) == CYCLEGAN_ERROR_BUSY);
    CHECK(strstr(cyclegan_last_error(translator), "all 3 slots hold frames"));
    for (unsigned i : {2u, 0u}) {  // in any order
        CHECK(cyclegan_wait(translator, tickets[i], -1) == CYCLEGAN_OK);
        CHECK(cyclegan_done(translator, tickets[i]) == 1);
        CHECK(cyclegan_collect(translator, tickets[i], &to) == CYCLEGAN_OK);
        CHECK(result.pixels == expected(translator, i));
        CHECK(cyclegan_collect(translator, tickets[i], &to) == CYCLEGAN_ERROR_TICKET);
        CHECK(cyclegan_done(translator, tickets[i]) == CYCLEGAN_ERROR_TICKET);
    }
    CHECK(cyclegan_cancel(translator, tickets[1]) == CYCLEGAN_OK);
    CHECK(cyclegan_cancel(translator, tickets[1]) == CYCLEGAN_ERROR_TICKET);
    CHECK(cyclegan_wait(translator, tickets[1], 0) == CYCLEGAN_ERROR_TICKET);
    CHECK(cyclegan_collect(translator, 0, &to) == CYCLEGAN_ERROR_TICKET);
    cyclegan_close(&translator);
}

void test_timeout() {
    cyclegan_translator *translator = opened(2);
    std::vector<uint8_t> pixels(3 * 640 * 480);
    const cyclegan_frame frame = rgb_frame(pixels.data(), 640, 480);
    cyclegan_ticket ticket;
    CHECK(cyclegan_submit(translator, &frame, &ticket) == CYCLEGAN_OK);
    CHECK(cyclegan_done(translator, ticket) == 0);
    CHECK(cyclegan_wait(translator, ticket, 0) == CYCLEGAN_ERROR_TIMEOUT);
    CHECK(cyclegan_wait(translator, ticket, INT64_MAX) == CYCLEGAN_OK);
    CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_OK);
    cyclegan_close(&translator);
}

// Threads that translate, and submit and collect, each its own pictures.
void work(cyclegan_translator *translator, unsigned seed, int frames, std::atomic<int> &right) {
    const std::vector<uint8_t> wanted = expected(translator, seed);
    for (int i = 0; i < frames; ++i) {
        Picture picture(seed);
        const cyclegan_frame frame = picture.frame();
        cyclegan_ticket ticket;
        cyclegan_status status = cyclegan_submit(translator, &frame, &ticket);
        if (status == CYCLEGAN_ERROR_BUSY) {
            while ((status = cyclegan_translate(translator, &frame, &frame)) == CYCLEGAN_ERROR_BUSY)
                std::this_thread::yield();
        } else {
            std::fill(picture.pixels.begin(), picture.pixels.end(), 0);
            status = cyclegan_collect(translator, ticket, &frame);
        }
        right += status == CYCLEGAN_OK && picture.pixels == wanted;
    }
}

void test_threads(int frames) {
    cyclegan_translator *one = opened(2), *two = opened(1);
    std::atomic<int> right{0};
    // Two handles on two threads, and one handle on three.
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 3; ++i)
        threads.emplace_back(work, one, i, frames, std::ref(right));
    threads.emplace_back(work, two, 9, frames, std::ref(right));
    for (std::thread &thread : threads) thread.join();
    CHECK(right == 4 * frames);
    cyclegan_close(&one);
    cyclegan_close(&two);
}

void test_close_in_flight(int rounds) {
    for (int round = 0; round < rounds; ++round) {
        cyclegan_translator *translator = opened(2);
        Picture picture(1);
        const cyclegan_frame frame = picture.frame();
        cyclegan_ticket waited, dropped;
        CHECK(cyclegan_submit(translator, &frame, &waited) == CYCLEGAN_OK);
        CHECK(cyclegan_submit(translator, &frame, &dropped) == CYCLEGAN_OK);
        std::atomic<bool> ready{false};
        std::thread waiting([translator, waited, &ready] {
            Picture result;
            const cyclegan_frame to = result.frame();
            ready = true;
            const cyclegan_status status = cyclegan_collect(translator, waited, &to);
            CHECK(status == CYCLEGAN_OK || status == CYCLEGAN_ERROR_HANDLE);
        });
        std::thread translating([translator] {
            Picture result(2);
            const cyclegan_frame both = result.frame();
            cyclegan_status status;
            while ((status = cyclegan_translate(translator, &both, &both)) != CYCLEGAN_ERROR_HANDLE)
                CHECK(status == CYCLEGAN_OK || status == CYCLEGAN_ERROR_BUSY);
        });
        while (!ready) std::this_thread::yield();
        cyclegan_close(&translator);
        waiting.join();
        translating.join();
    }
}

// Each returns when the translator has ended: what belongs to it may then be freed.
void test_two_threads_close() {
    using Clock = std::chrono::steady_clock;
    constexpr int kSide = 320;  // several take long beside what two threads need to return
    cyclegan_translator *translator = opened(4), *copy = translator;
    std::vector<uint8_t> pixels(kSide * kSide * 3);
    const cyclegan_frame frame = rgb_frame(pixels.data(), kSide, kSide);
    cyclegan_ticket ticket;
    for (int i = 0; i < 4; ++i)
        CHECK(cyclegan_submit(translator, &frame, &ticket) == CYCLEGAN_OK);
    const Clock::time_point begun = Clock::now();
    Clock::duration first;
    std::thread closing([&] {
        cyclegan_close(&translator);
        first = Clock::now() - begun;
    });
    while (cyclegan_done(copy, ticket) != CYCLEGAN_ERROR_HANDLE) std::this_thread::yield();
    cyclegan_close(&copy);
    const Clock::duration second = Clock::now() - begun;
    closing.join();
    CHECK(2 * second >= first);
}

// The thread that reads a large frame is inside for long enough to be met there.
void test_close_while_a_frame_is_read() {
    constexpr int kSide = 2048;
    cyclegan_translator *translator = opened(1);
    std::vector<uint8_t> luma(kSide * kSide), chroma(kSide * kSide / 2);
    cyclegan_frame frame = rgb_frame(luma.data(), kSide, kSide);
    frame.format = CYCLEGAN_NV12;
    frame.data[1] = chroma.data();
    frame.stride[0] = frame.stride[1] = kSide;
    std::atomic<bool> ready{false};
    std::thread reading([&, copy = translator] {
        cyclegan_ticket ticket;
        ready = true;
        const cyclegan_status status = cyclegan_submit(copy, &frame, &ticket);
        CHECK(status == CYCLEGAN_OK || status == CYCLEGAN_ERROR_HANDLE);
    });
    while (!ready) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cyclegan_close(&translator);
    reading.join();
}

// What fork() makes has none of the backend's threads: nothing there may wait for them.
void test_fork() {
    cyclegan_translator *translator = opened(2);
    const std::vector<uint8_t> wanted = expected(translator, 3);
    Picture picture(3);
    const cyclegan_frame frame = picture.frame();
    cyclegan_ticket ticket;
    CHECK(cyclegan_submit(translator, &frame, &ticket) == CYCLEGAN_OK);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);  // rather than to hang
        CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_ERROR_HANDLE);
        CHECK(strstr(cyclegan_last_error(translator), "was forked; open the model here"));
        CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_ERROR_HANDLE);
        cyclegan_close(&translator);
        CHECK(!translator);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_OK && picture.pixels == wanted);
    cyclegan_close(&translator);
}

// A thread is told of its own failure, also when another has failed or closed the handle since.
void test_errors_of_several_threads() {
    cyclegan_translator *translator = opened(1);
    const cyclegan_translator *copy = translator;
    Picture picture;
    cyclegan_frame frame = picture.frame(), narrow = frame;
    narrow.width -= 4;
    const auto says = [copy](const char *words) { return strstr(cyclegan_last_error(copy), words); };
    CHECK(cyclegan_translate(translator, &narrow, &frame) == CYCLEGAN_ERROR_SIZE);
    std::thread([&] {
        CHECK(says("expected one size"));  // another's, while it has none of its own
        CHECK(cyclegan_done(translator, 0) == CYCLEGAN_ERROR_TICKET && says("has ticket 0"));
    }).join();
    CHECK(says("expected one size"));
    std::thread([&] { CHECK(says("has ticket 0")); }).join();
    cyclegan_close(&translator);
    CHECK(says("expected one size"));
    CHECK(cyclegan_query(copy, nullptr) == CYCLEGAN_ERROR_HANDLE && says("was closed"));
}

void test_cpp_layer() {
    cyclegan::Settings settings;
    settings.threads = 1;
    cyclegan::Translator translator(test_model(), settings);
    const std::vector<uint8_t> wanted = expected(translator.get(), 5);
    Picture picture(5), result;
    translator.translate(picture.frame(), result.frame());
    CHECK(result.pixels == wanted);
    cyclegan::Translator moved = std::move(translator);
    auto ticket = moved.submit(picture.frame());
    auto dropped = moved.submit(picture.frame());
    try {
        auto refused = moved.submit(picture.frame());
        CHECK(false);
    } catch (const cyclegan::Error &error) {
        CHECK(error.status() == CYCLEGAN_ERROR_BUSY && strstr(error.what(), "slots"));
    }
    ticket.wait();
    CHECK(ticket.done() && ticket.wait_for(0));
    std::fill(result.pixels.begin(), result.pixels.end(), 0);
    ticket.collect(result.frame());
    CHECK(result.pixels == wanted);
    CHECK(moved.info().size_multiple == 4);
    try {
        cyclegan::Translator none("/nowhere");
        CHECK(false);
    } catch (const cyclegan::Error &error) {
        CHECK(error.status() == CYCLEGAN_ERROR_FILE && strstr(error.what(), "/nowhere"));
    }
}

}  // namespace

int main(int count, char **arguments) {
    const int frames = count > 1 ? atoi(arguments[1]) : 40;
    test_tickets();
    test_timeout();
    test_threads(frames);
    test_close_in_flight(3);
    test_two_threads_close();
    test_close_while_a_frame_is_read();
    test_fork();
    test_errors_of_several_threads();
    test_cpp_layer();
}
