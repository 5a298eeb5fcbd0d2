// CUDA's driver, loaded when it is first asked for: a machine without one still loads this library.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <utility>

namespace cyclegan {

// The functions of libcuda that are used here, under the names that its header gives them.
#define CYCLEGAN_CUDA_FUNCTIONS(DO)                                                           \
    DO(cuInit) DO(cuGetErrorString) DO(cuDeviceGet) DO(cuDeviceGetCount)                      \
    DO(cuDevicePrimaryCtxRetain) DO(cuDevicePrimaryCtxRelease) DO(cuCtxPushCurrent)           \
    DO(cuCtxPopCurrent) DO(cuMemAlloc) DO(cuMemFree) DO(cuMemHostAlloc) DO(cuMemFreeHost)     \
    DO(cuMemcpyHtoDAsync) DO(cuMemcpyDtoHAsync) DO(cuMemcpy2DAsync) DO(cuStreamCreate)        \
    DO(cuStreamDestroy) DO(cuStreamSynchronize) DO(cuStreamAddCallback) DO(cuStreamWaitEvent) \
    DO(cuEventCreate) DO(cuEventRecord) DO(cuEventSynchronize) DO(cuEventDestroy)

struct Cuda {
#define CYCLEGAN_CUDA_MEMBER(name) decltype(&::name) name;
    CYCLEGAN_CUDA_FUNCTIONS(CYCLEGAN_CUDA_MEMBER)
#undef CYCLEGAN_CUDA_MEMBER
};

// Loaded and initialised once a process. Throws Error with BACKEND where there is no driver.
const Cuda &cuda();

// Throws Error with BACKEND, or MEMORY, which names what was being done.
void check_cuda(CUresult result, const char *doing);

// A device's primary context, which is what TensorRT uses.
class Device {
  public:
    explicit Device(int number);
    ~Device();
    Device(const Device &) = delete;

    // The context is this thread's for as long as this lives.
    class Current {
      public:
        explicit Current(const Device &device);
        ~Current();
        Current(const Current &) = delete;
    };

  private:
    CUdevice device_ = 0;
    CUcontext context_ = nullptr;
};

// Memory of the device, or of the host and known to the device, that grows when it is asked to.
class Buffer {
  public:
    enum class Where { Device, Host };
    explicit Buffer(Where where) : where_(where) {}
    ~Buffer() { free(); }
    Buffer(Buffer &&other) noexcept
        : where_(other.where_),
          memory_(std::exchange(other.memory_, 0)),
          size_(std::exchange(other.size_, 0)) {}

    // Gives smaller memory back first: nothing may be using it any more.
    void reserve(size_t size);
    size_t size() const { return size_; }
    CUdeviceptr device() const { return memory_; }
    void *data() const { return reinterpret_cast<void *>(memory_); }

  private:
    void free();
    Where where_;
    CUdeviceptr memory_ = 0;  // or a host pointer
    size_t size_ = 0;
};

}  // namespace cyclegan
