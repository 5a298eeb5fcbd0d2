// The TensorRT backend on a GPU made of threads and a network that gives the negative: what is ours
// of it, which is slots, tickets, streams, buffers and errors. Only a GPU can tell the rest.
#include <NvInferVersion.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fake_cuda.h"
#include "plan_note.h"

namespace {

#ifdef TRT_MAJOR_RTX
const char kFlavour[] = "tensorrt-rtx", kOther[] = "tensorrt";
#else
const char kFlavour[] = "tensorrt", kOther[] = "tensorrt-rtx";
#endif
const char kProfile[] = "1x8x8,1x64x64,1x64x128";  // batch x height x width
constexpr int kWidth = 64, kHeight = 32, kBytes = 3 * kWidth * kHeight;

using Pixels = std::vector<uint8_t>;
std::filesystem::path folder;

std::string version() {
    return std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
           std::to_string(NV_TENSORRT_PATCH);
}

std::string plan_of(const std::string &content, const std::string &flavour = kFlavour,
                    const std::string &built_by = version() + ".99",
                    const char *profile = kProfile) {
    const std::string path = folder / "a.plan";
    std::ofstream(path) << content;
    std::ofstream(path + ".json") << note_on(content, profile, flavour, built_by);
    return path;
}

cyclegan_translator *opened() {
    cyclegan_translator *translator = nullptr;
    CHECK(cyclegan_open(&translator, plan_of("negative").c_str(), nullptr) == CYCLEGAN_OK);
    return translator;
}

Pixels picture(unsigned seed, size_t size = kBytes) {
    Pixels pixels(size);
    fill(pixels.data(), size, seed);
    return pixels;
}

Pixels negative(Pixels pixels) {
    for (uint8_t &one : pixels) one = static_cast<uint8_t>(255 - one);
    return pixels;
}

void check_says(const cyclegan_translator *handle, const char *words) {
    if (strstr(cyclegan_last_error(handle), words)) return;
    fprintf(stderr, "expected \"%s\" in \"%s\"\n", words, cyclegan_last_error(handle));
    abort();
}

void test_frames_of_the_host() {
    cyclegan_translator *translator = opened();
    cyclegan_info info{};
    info.struct_size = sizeof info;
    CHECK(cyclegan_query(translator, &info) == CYCLEGAN_OK);
    CHECK(info.backend == CYCLEGAN_TENSORRT && info.slots == 3);
    CHECK(info.description == std::string(kFlavour) + " " + version() + ", float16");
    // Sizes of the network, another, and one that is padded; the buffers grow and stay.
    for (const auto &[width, height] : {std::pair{64, 32}, {128, 64}, {31, 17}, {64, 32}}) {
        const size_t size = size_t{3} * width * height;
        Pixels pixels = picture(1, size);
        const cyclegan_frame frame = rgb_frame(pixels.data(), width, height);
        CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_OK);
        CHECK(pixels == negative(picture(1, size)));
    }
    Pixels large(3 * 132 * 64);
    const cyclegan_frame frame = rgb_frame(large.data(), 132, 64);
    CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_ERROR_SIZE);
    check_says(translator, "built for 8x8 to 128x64");
    cyclegan_close(&translator);
}

void test_a_plan_of_one_size() {
    const std::string path = plan_of("negative", kFlavour, version(), "1x32x64,1x32x64,1x32x64");
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    cyclegan_translator *translator = nullptr;
    for (const int width : {0, 63}) {  // which is padded to 64
        settings.width = width, settings.height = width ? 32 : 0;
        CHECK(cyclegan_open(&translator, path.c_str(), &settings) == CYCLEGAN_OK);
        cyclegan_info info{};
        info.struct_size = sizeof info;
        CHECK(cyclegan_query(translator, &info) == CYCLEGAN_OK);
        CHECK(info.width == (width ? width : 64) && info.height == 32);
        cyclegan_close(&translator);
    }
    settings.width = 68;
    CHECK(cyclegan_open(&translator, path.c_str(), &settings) == CYCLEGAN_ERROR_SIZE);
    check_says(nullptr, "68x32; this plan was built for 64x32");
}

void test_tickets() {
    cyclegan_translator *translator = opened();
    cyclegan_ticket tickets[3], more;
    Pixels pixels, result(kBytes);
    for (unsigned i = 0; i < 3; ++i) {
        pixels = picture(i);
        const cyclegan_frame frame = rgb_frame(pixels.data(), kWidth, kHeight);
        CHECK(cyclegan_submit(translator, &frame, &tickets[i]) == CYCLEGAN_OK);
    }
    const cyclegan_frame to = rgb_frame(result.data(), kWidth, kHeight);
    CHECK(cyclegan_submit(translator, &to, &more) == CYCLEGAN_ERROR_BUSY);
    for (unsigned i : {2u, 0u}) {
        CHECK(cyclegan_collect(translator, tickets[i], &to) == CYCLEGAN_OK);
        CHECK(result == negative(picture(i)));
    }
    cyclegan_close(&translator);  // with one in flight
}

void test_threads() {
    cyclegan_translator *translator = opened();
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 5; ++seed)
        threads.emplace_back([&, seed] {
            for (int i = 0; i < 50; ++i) {
                Pixels pixels = picture(seed);
                const cyclegan_frame frame = rgb_frame(pixels.data(), kWidth, kHeight);
                CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_OK);
                right += pixels == negative(picture(seed));
            }
        });
    for (std::thread &thread : threads) thread.join();
    CHECK(right == 250);
    cyclegan_close(&translator);
}

// Every call to the device fails once: each is reported, and the next frame is right again.
void test_failures_in_a_frame() {
    struct Case {
        const char *function;
        CUresult result;
        cyclegan_status status;
        const char *words;
    };
    const CUresult odd = CUDA_ERROR_UNKNOWN;
    for (const Case &one : {
             Case{"cuCtxPushCurrent", odd, CYCLEGAN_ERROR_BACKEND, "entering the device's context"},
             Case{"cuMemAlloc", CUDA_ERROR_OUT_OF_MEMORY, CYCLEGAN_ERROR_MEMORY, "out of memory"},
             Case{"cuMemHostAlloc", CUDA_ERROR_OUT_OF_MEMORY, CYCLEGAN_ERROR_MEMORY, "page-locked"},
             Case{"cuMemcpyHtoDAsync", odd, CYCLEGAN_ERROR_BACKEND, "copying the frame in"},
             Case{"enqueueV3", odd, CYCLEGAN_ERROR_BACKEND, "does not run the frame"},
             Case{"cuMemcpyDtoHAsync", odd, CYCLEGAN_ERROR_BACKEND, "copying the frame out"},
             Case{"cuStreamAddCallback", odd, CYCLEGAN_ERROR_BACKEND, "asking to be told"},
         }) {
        cyclegan_translator *translator = opened();
        Pixels pixels = picture(1);
        const cyclegan_frame frame = rgb_frame(pixels.data(), kWidth, kHeight);
        fake_cuda_fail(one.function, one.result);
        const cyclegan_status status = cyclegan_translate(translator, &frame, &frame);
        check_says(translator, one.words);
        CHECK(status == one.status && pixels == picture(1));
        for (int i = 0; i < 4; ++i) {  // through every slot
            fill(pixels.data(), kBytes, 1);
            CHECK(cyclegan_translate(translator, &frame, &frame) == CYCLEGAN_OK);
            CHECK(pixels == negative(picture(1)));
        }
        cyclegan_close(&translator);
    }
}

void test_a_failure_that_comes_later() {
    cyclegan_translator *translator = opened();
    Pixels pixels = picture(1);
    const cyclegan_frame frame = rgb_frame(pixels.data(), kWidth, kHeight);
    cyclegan_ticket ticket;
    fake_cuda_fail("kernel", CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK(cyclegan_submit(translator, &frame, &ticket) == CYCLEGAN_OK);
    CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_ERROR_BACKEND);
    check_says(translator, "CUDA failed while it ran the frame: it fell over");
    CHECK(cyclegan_collect(translator, ticket, &frame) == CYCLEGAN_ERROR_TICKET);
    cyclegan_close(&translator);
}

void refused(const std::string &path, const cyclegan_settings *settings, cyclegan_status status,
             const char *words) {
    cyclegan_translator *translator = nullptr;
    CHECK(cyclegan_open(&translator, path.c_str(), settings) == status && !translator);
    check_says(nullptr, words);
    CHECK(fake_cuda_alive() == 0);
}

void test_opening() {
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    refused(plan_of("of something else"), nullptr, CYCLEGAN_ERROR_MODEL, "magic tag does not match");
    refused(plan_of("floats"), nullptr, CYCLEGAN_ERROR_MODEL, "takes no uint8 frames");
    refused(plan_of("negative", kOther), nullptr, CYCLEGAN_ERROR_VERSION, "build it again");
    refused(plan_of("negative", kFlavour, "7.0.0"), nullptr, CYCLEGAN_ERROR_VERSION, "7.0.0, and");
    const std::string path = plan_of("negative");
    for (const char *device : {"1", "cuda:1", "GPU.7"}) {
        settings.device = device;
        refused(path, &settings, CYCLEGAN_ERROR_BACKEND, "there is no CUDA device");
    }
    for (const char *device : {"first", "", "cuda:", "-0", "cuda:-0", "cuda0"}) {
        settings.device = device;
        refused(path, &settings, CYCLEGAN_ERROR_BACKEND, "expected a number");
    }
    settings.device = nullptr, settings.precision = CYCLEGAN_FLOAT32;
    refused(path, &settings, CYCLEGAN_ERROR_UNSUPPORTED, "has its precision built in");
    for (const char *function : {"cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain",
                                 "cuCtxPushCurrent", "cuStreamCreate", "createExecutionContext"}) {
        fake_cuda_fail(function, CUDA_ERROR_UNKNOWN);
        refused(path, nullptr, CYCLEGAN_ERROR_BACKEND, "");
    }
    check_says(nullptr, "makes no context: nothing of the reason");  // said of another plan
    fake_cuda_fail("createExecutionContext", CUDA_ERROR_OUT_OF_MEMORY);
    refused(path, nullptr, CYCLEGAN_ERROR_MEMORY, "out of memory: TensorRT makes no context");
}

// A context, a stream of the caller's, and a frame in device memory of any stride and alignment.
struct DeviceFrame {
    DeviceFrame(unsigned seed, size_t stride, size_t offset) : content(stride * kHeight) {
        CHECK(cuMemAlloc(&memory, content.size() + offset) == CUDA_SUCCESS);
        fill(content.data(), content.size(), seed);
        memcpy(pixels(offset), content.data(), content.size());
        frame = rgb_frame(pixels(offset), kWidth, kHeight);
        frame.stride[0] = stride;
    }
    ~DeviceFrame() { CHECK(cuMemFree(memory) == CUDA_SUCCESS); }
    uint8_t *pixels(size_t offset) const { return reinterpret_cast<uint8_t *>(memory + offset); }

    CUdeviceptr memory = 0;
    Pixels content;
    cyclegan_frame frame;
};

bool is_negative(const DeviceFrame &source, const DeviceFrame &target) {
    const auto *to = static_cast<const uint8_t *>(target.frame.data[0]);
    for (int y = 0; y < source.frame.height; ++y)
        for (size_t i = 0; i < target.frame.stride[0]; ++i) {
            const size_t at = y * target.frame.stride[0] + i;
            const uint8_t wanted =
                i < 3 * kWidth
                    ? static_cast<uint8_t>(255 - source.content[y * source.frame.stride[0] + i])
                    : target.content[at];  // nothing is written between the rows
            if (to[at] != wanted) return false;
        }
    return true;
}

void test_frames_of_the_device() {
    cyclegan_translator *translator = opened();
    CUcontext context;
    CUstream first, second;
    CHECK(cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
    CHECK(cuCtxPushCurrent(context) == CUDA_SUCCESS);
    CHECK(cuStreamCreate(&first, 0) == CUDA_SUCCESS && cuStreamCreate(&second, 0) == CUDA_SUCCESS);
    const size_t row = 3 * kWidth;
    {
        DeviceFrame tight(1, row, 0), wide(2, row + 13, 0), crooked(3, row, 1), result(4, row, 0),
            odd(5, row + 5, 3);
        const auto run = [&](DeviceFrame &source, DeviceFrame &target, CUstream stream) {
            return cyclegan_translate_device(translator, &source.frame, &target.frame, stream);
        };
        const auto be_late = [](CUstream stream) {
            fake_cuda_enqueue(stream, [] {
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
                return CUDA_SUCCESS;
            });
        };
        // A larger frame takes more room, which a smaller one before it still uses.
        DeviceFrame upper(6, row + 13, 0), lower(7, row + 5, 3);
        upper.frame.height = lower.frame.height = kHeight / 2;
        be_late(first);
        CHECK(run(upper, lower, first) == CYCLEGAN_OK);
        CHECK(run(wide, odd, second) == CYCLEGAN_OK);
        CHECK(cuStreamSynchronize(second) == CUDA_SUCCESS && is_negative(wide, odd));
        CHECK(cuStreamSynchronize(first) == CUDA_SUCCESS && is_negative(upper, lower));
        DeviceFrame both(8, row, 0);
        CHECK(run(both, both, first) == CYCLEGAN_OK);
        CHECK(cuStreamSynchronize(first) == CUDA_SUCCESS && is_negative(both, both));
        for (DeviceFrame *source : {&tight, &wide, &crooked})
            for (DeviceFrame *target : {&result, &odd}) {
                // One stream behind the other: the scratch memory between them is one.
                CHECK(run(*source, *target, first) == CYCLEGAN_OK);
                CHECK(cuStreamSynchronize(first) == CUDA_SUCCESS && is_negative(*source, *target));
                CHECK(run(wide, odd, first) == CYCLEGAN_OK);
                CHECK(run(*source, result, second) == CYCLEGAN_OK);
                CHECK(cuStreamSynchronize(second) == CUDA_SUCCESS && is_negative(*source, result));
                CHECK(cuStreamSynchronize(first) == CUDA_SUCCESS && is_negative(wide, odd));
            }
        CHECK(run(tight, result, nullptr) == CYCLEGAN_ERROR_ARGUMENT);
        check_says(translator, "stream is NULL");
        for (const char *function : {"cuStreamWaitEvent", "cuMemcpy2DAsync", "enqueueV3"}) {
            be_late(first);  // with what was enqueued all the same
            fake_cuda_fail(function, CUDA_ERROR_UNKNOWN);
            CHECK(run(wide, odd, first) == CYCLEGAN_ERROR_BACKEND);
            CHECK(run(crooked, odd, second) == CYCLEGAN_OK);  // whatever the first still does
            CHECK(cuStreamSynchronize(second) == CUDA_SUCCESS && is_negative(crooked, odd));
        }
        DeviceFrame bgr = DeviceFrame(6, row, 0), small = DeviceFrame(7, row, 0);
        bgr.frame.format = CYCLEGAN_BGR8, small.frame.width = 62;
        CHECK(run(bgr, result, first) == CYCLEGAN_ERROR_ARGUMENT);
        CHECK(run(small, small, first) == CYCLEGAN_ERROR_SIZE);
        check_says(translator, "multiples of 4");
        CHECK(run(tight, result, first) == CYCLEGAN_OK);
        cyclegan_close(&translator);  // waits for what is enqueued
        CHECK(is_negative(tight, result));
    }
    CHECK(cuStreamDestroy(first) == CUDA_SUCCESS && cuStreamDestroy(second) == CUDA_SUCCESS);
    CHECK(cuCtxPopCurrent(&context) == CUDA_SUCCESS);
    CHECK(cuDevicePrimaryCtxRelease(0) == CUDA_SUCCESS);
}

}  // namespace

int main() {
    char name[] = "/tmp/cyclegan-XXXXXX";
    CHECK(mkdtemp(name));
    folder = name;
    const auto leaves_nothing = [](void (*test)()) {
        test();
        CHECK(fake_cuda_alive() == 0);
    };
    for (const auto test : {test_frames_of_the_host, test_a_plan_of_one_size, test_tickets,
                            test_threads, test_failures_in_a_frame, test_a_failure_that_comes_later,
                            test_opening, test_frames_of_the_device})
        leaves_nothing(test);
    std::filesystem::remove_all(folder);
}
