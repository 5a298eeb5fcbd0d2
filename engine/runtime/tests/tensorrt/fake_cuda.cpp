// A GPU made of threads, for what surrounds CUDA's calls: order, slots, buffers, errors. Device
// memory is the host's. A stream is a thread that does one thing after another. What CUDA forbids
// fails here: calls without a context, or out of a stream's callback. Nothing of this says that the
// real calls work: only a GPU can.
#include "fake_cuda.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>

struct CUevent_st {
    std::mutex mutex;
    std::condition_variable changed;
    long recorded = 0, reached = 0;

    long current() {
        const std::lock_guard lock(mutex);
        return recorded;
    }
    void wait(long number) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return reached >= number; });
    }
};

namespace {

thread_local int depth = 0;  // of the contexts that were pushed
thread_local bool in_stream = false;

}  // namespace

struct CUstream_st {
    CUstream_st() : thread([this] { run(); }) {}
    ~CUstream_st() {
        enqueue(nullptr);
        thread.join();
    }

    void enqueue(std::function<CUresult()> one) {
        const std::lock_guard lock(mutex);
        work.push_back(std::move(one));
        changed.notify_all();
    }

    CUresult synchronize() {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return work.empty(); });
        return state;
    }

    std::atomic<CUresult> state{CUDA_SUCCESS};

  private:
    void run() {
        in_stream = true;
        std::unique_lock lock(mutex);
        while (true) {
            changed.wait(lock, [&] { return !work.empty(); });
            const auto one = work.front();
            if (!one) return;
            lock.unlock();
            if (const CUresult result = one(); result != CUDA_SUCCESS) state = result;
            lock.lock();
            work.pop_front();  // now it is done
            changed.notify_all();
        }
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<CUresult()>> work;
    std::thread thread;
};

namespace {

std::mutex mutex;
std::map<std::string, CUresult> failures;
std::map<CUdeviceptr, size_t> memory;
std::atomic<int> alive{0};

// What stands at the start of every function: why it fails, or CUDA_SUCCESS.
CUresult enter(const char *function, bool needs_context = true) {
    if (in_stream) return CUDA_ERROR_NOT_PERMITTED;
    if (needs_context && depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
    const std::string versioned = function;  // "cuMemAlloc_v2", as the header has it
    return fake_cuda_failure(versioned.substr(0, versioned.find('_')).c_str());
}

#define ENTER(...)                                                                       \
    if (const CUresult result = enter(__func__, ##__VA_ARGS__); result != CUDA_SUCCESS) \
    return result

bool is_device(CUdeviceptr address, size_t size) {
    const std::lock_guard lock(mutex);
    const auto after = memory.upper_bound(address);
    if (after == memory.begin()) return false;
    const auto [begin, length] = *std::prev(after);
    return address + size <= begin + length;
}

CUresult copied(CUdeviceptr to, CUdeviceptr from, size_t size) {
    // No memcpy: the thread sanitizer is told to overlook what the C library does.
    for (size_t i = 0; i < size; ++i)
        reinterpret_cast<uint8_t *>(to)[i] = reinterpret_cast<const uint8_t *>(from)[i];
    return CUDA_SUCCESS;
}

}  // namespace

void fake_cuda_fail(const char *function, CUresult result) {
    const std::lock_guard lock(mutex);
    failures[function] = result;
}

CUresult fake_cuda_failure(const char *function) {
    const std::lock_guard lock(mutex);
    const auto found = failures.find(function);
    if (found == failures.end()) return CUDA_SUCCESS;
    const CUresult result = found->second;
    failures.erase(found);
    return result;
}

void fake_cuda_enqueue(CUstream stream, std::function<CUresult()> work) {
    stream->enqueue(std::move(work));
}

bool fake_cuda_owns(CUdeviceptr address, size_t size) { return is_device(address, size); }

int fake_cuda_alive() { return alive; }

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }

CUresult cuGetErrorString(CUresult result, const char **words) {
    if (in_stream) return CUDA_ERROR_NOT_PERMITTED;
    *words = result == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "it fell over";
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    ENTER(false);
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int number) {
    ENTER(false);
    *device = number;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) {
    ENTER(false);
    ++alive;
    *context = reinterpret_cast<CUcontext>(&alive);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice) {
    ENTER(false);
    --alive;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext) {
    ENTER(false);
    ++depth;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *) {
    ENTER();
    --depth;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t size) {
    ENTER();
    *address = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (size + 255) / 256 * 256));
    const std::lock_guard lock(mutex);
    memory[*address] = size;
    ++alive;
    return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr address) {
    ENTER();
    const std::lock_guard lock(mutex);
    if (!memory.erase(address)) return CUDA_ERROR_INVALID_VALUE;
    std::free(reinterpret_cast<void *>(address));
    --alive;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **address, size_t size, unsigned) {
    ENTER();
    *address = std::malloc(size);
    ++alive;
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *address) {
    ENTER();
    std::free(address);
    --alive;
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
    ENTER();
    if (!is_device(to, size)) return CUDA_ERROR_INVALID_VALUE;
    stream->enqueue([=] { return copied(to, reinterpret_cast<CUdeviceptr>(from), size); });
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream) {
    ENTER();
    if (!is_device(from, size)) return CUDA_ERROR_INVALID_VALUE;
    stream->enqueue([=] { return copied(reinterpret_cast<CUdeviceptr>(to), from, size); });
    return CUDA_SUCCESS;
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *given, CUstream stream) {
    ENTER();
    const CUDA_MEMCPY2D copy = *given;
    const auto spans = [&](size_t pitch) { return pitch * (copy.Height - 1) + copy.WidthInBytes; };
    if (!is_device(copy.srcDevice, spans(copy.srcPitch)) ||
        !is_device(copy.dstDevice, spans(copy.dstPitch)))
        return CUDA_ERROR_INVALID_VALUE;
    stream->enqueue([copy] {
        for (size_t row = 0; row < copy.Height; ++row)
            copied(copy.dstDevice + row * copy.dstPitch, copy.srcDevice + row * copy.srcPitch,
                   copy.WidthInBytes);
        return CUDA_SUCCESS;
    });
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned) {
    ENTER();
    *stream = new CUstream_st;
    ++alive;
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    ENTER();
    delete stream;
    --alive;
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    ENTER();
    return stream->synchronize();
}

CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *user, unsigned) {
    ENTER();
    stream->enqueue([=] {
        callback(stream, stream->state, user);
        return CUDA_SUCCESS;
    });
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    ENTER();
    stream->enqueue([event, number = event->current()] {
        event->wait(number);
        return CUDA_SUCCESS;
    });
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned) {
    ENTER();
    *event = new CUevent_st;
    ++alive;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    ENTER();
    long number;
    {
        const std::lock_guard lock(event->mutex);
        number = ++event->recorded;
    }
    stream->enqueue([=] {
        const std::lock_guard lock(event->mutex);
        event->reached = number;
        event->changed.notify_all();
        return CUDA_SUCCESS;
    });
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
    ENTER();
    event->wait(event->current());
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    ENTER();
    delete event;
    --alive;
    return CUDA_SUCCESS;
}
