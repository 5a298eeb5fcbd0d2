#include "cuda_driver.h"

#include <dlfcn.h>

#include "error.h"

namespace cyclegan {
namespace {

#define CYCLEGAN_TEXT_OF(name) #name
#define CYCLEGAN_TEXT(name) CYCLEGAN_TEXT_OF(name)  // of what the header defines the name to be

Cuda load_driver() {
    void *library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail(CYCLEGAN_ERROR_BACKEND, "no CUDA driver: %s; install NVIDIA's driver", ::dlerror());
    Cuda loaded{};
#define CYCLEGAN_CUDA_LOAD(name)                                                             \
    loaded.name = reinterpret_cast<decltype(loaded.name)>(::dlsym(library, CYCLEGAN_TEXT(name))); \
    if (!loaded.name)                                                                        \
        fail(CYCLEGAN_ERROR_VERSION, "the CUDA driver lacks %s; install a newer one",        \
             CYCLEGAN_TEXT(name));
    CYCLEGAN_CUDA_FUNCTIONS(CYCLEGAN_CUDA_LOAD)
#undef CYCLEGAN_CUDA_LOAD
    if (const CUresult result = loaded.cuInit(0); result != CUDA_SUCCESS)
        fail(CYCLEGAN_ERROR_BACKEND, "CUDA cannot start: error %d; does nvidia-smi work?", result);
    return loaded;
}

}  // namespace

const Cuda &cuda() {
    static const Cuda loaded = load_driver();
    return loaded;
}

void check_cuda(CUresult result, const char *doing) {
    if (result == CUDA_SUCCESS) return;
    const char *words = nullptr;
    cuda().cuGetErrorString(result, &words);
    fail(result == CUDA_ERROR_OUT_OF_MEMORY ? CYCLEGAN_ERROR_MEMORY : CYCLEGAN_ERROR_BACKEND,
         "CUDA failed %s: %s", doing, words ? words : "unknown error");
}

Device::Device(int number) {
    int count = 0;
    check_cuda(cuda().cuDeviceGetCount(&count), "counting devices");
    if (number < 0 || number >= count)
        fail(CYCLEGAN_ERROR_BACKEND, "there is no CUDA device %d; this machine has %d", number,
             count);
    check_cuda(cuda().cuDeviceGet(&device_, number), "opening the device");
    check_cuda(cuda().cuDevicePrimaryCtxRetain(&context_, device_), "opening the device");
}

Device::~Device() { cuda().cuDevicePrimaryCtxRelease(device_); }

Device::Current::Current(const Device &device) {
    check_cuda(cuda().cuCtxPushCurrent(device.context_), "entering the device's context");
}

Device::Current::~Current() {
    CUcontext context;
    cuda().cuCtxPopCurrent(&context);
}

void Buffer::reserve(size_t size) {
    if (size <= size_) return;
    free();
    if (where_ == Where::Device) {
        check_cuda(cuda().cuMemAlloc(&memory_, size), "allocating memory of the device");
    } else {
        void *memory = nullptr;
        check_cuda(cuda().cuMemHostAlloc(&memory, size, 0), "allocating page-locked memory");
        memory_ = reinterpret_cast<CUdeviceptr>(memory);
    }
    size_ = size;
}

void Buffer::free() {
    if (!memory_) return;
    where_ == Where::Device ? cuda().cuMemFree(memory_) : cuda().cuMemFreeHost(data());
    memory_ = 0, size_ = 0;
}

}  // namespace cyclegan
