// Inference on NVIDIA GPUs with TensorRT, of the flavour whose headers this was built with. Its
// library is loaded when a plan is opened. Each slot has a context, a stream and buffers of its
// own, so that one frame is copied while another is computed.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend.h"
#include "build_info.h"
#include "cuda_driver.h"
#include "error.h"

namespace cyclegan {
namespace {

#define CYCLEGAN_NUMBER_OF(number) #number
#define CYCLEGAN_NUMBER(number) CYCLEGAN_NUMBER_OF(number)
#ifdef TRT_MAJOR_RTX
constexpr char kFlavour[] = "tensorrt-rtx";
constexpr char kLibrary[] = "libtensorrt_rtx.so." CYCLEGAN_NUMBER(NV_TENSORRT_MAJOR);
#else
constexpr char kFlavour[] = "tensorrt";
constexpr char kLibrary[] = "libnvinfer.so." CYCLEGAN_NUMBER(NV_TENSORRT_MAJOR);
#endif
constexpr char kInput[] = "frames", kOutput[] = "translated";
constexpr int kAlignment = 256;  // of addresses of tensors
constexpr int kChannels = 3;

// TensorRT knows one logger for a process. What it says goes into the error of the thread.
class Logger final : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char *message) noexcept override {
        if (severity > Severity::kERROR) return;
        std::snprintf(said, sizeof said, "%s", message);
        // It tells of missing memory in words alone, and not always in the last.
        lacked_memory |= std::strstr(message, "out of memory") != nullptr ||
                         std::strstr(message, "OutOfMemory") != nullptr;
    }
    // Before a call: what was said of an earlier one is no reason.
    static void forget() {
        std::strcpy(said, "nothing of the reason");
        lacked_memory = false;
    }
    static thread_local char said[512];
    static thread_local bool lacked_memory;
};
thread_local char Logger::said[512];
thread_local bool Logger::lacked_memory;
Logger logger;

// A call since Logger::forget() failed, with `status` unless memory was what it lacked.
[[noreturn]] void failed(cyclegan_status status, const std::string &what, const char *advice = "") {
    if (Logger::lacked_memory)
        fail(CYCLEGAN_ERROR_MEMORY, "out of memory: TensorRT %s: %s", what.c_str(), Logger::said);
    fail(status, "TensorRT %s: %s%s", what.c_str(), Logger::said, advice);
}

struct Library {
    decltype(&::getInferLibVersion) version;
    decltype(&::createInferRuntime_INTERNAL) create_runtime;
};

Library load_library() {
    void *library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail(CYCLEGAN_ERROR_BACKEND,
             "TensorRT cannot be loaded: %s; install %s %d, and let the loader find it",
             ::dlerror(), kFlavour, NV_TENSORRT_MAJOR);
    const Library loaded{
        reinterpret_cast<decltype(Library::version)>(::dlsym(library, "getInferLibVersion")),
        reinterpret_cast<decltype(Library::create_runtime)>(
            ::dlsym(library, "createInferRuntime_INTERNAL")),
    };
    if (!loaded.version || !loaded.create_runtime)
        fail(CYCLEGAN_ERROR_VERSION, "%s lacks functions that TensorRT %d has", kLibrary,
             NV_TENSORRT_MAJOR);
    return loaded;
}

const Library &library() {
    static const Library loaded = load_library();
    return loaded;
}

// As "11.1.0" from 11 * 10000 + 1 * 100 + 0.
std::string library_version() {
    const int number = library().version();
    return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
           std::to_string(number % 100);
}

void check_built_for_this(const Model &model) {
    if (model.flavour != kFlavour)
        fail(CYCLEGAN_ERROR_VERSION,
             "%s was built by %s, and this library runs plans of %s; build it again with that",
             model.name.c_str(), model.flavour.c_str(), kFlavour);
    const std::string here = library_version();
    if (model.version != here && model.version.rfind(here + ".", 0) != 0)
        fail(CYCLEGAN_ERROR_VERSION, "%s was built by %s %s, and %s is here; build it again here",
             model.name.c_str(), kFlavour, model.version.c_str(), here.c_str());
}

// The number in "1", "cuda:1" or "GPU.1".
int device_number(const char *name) {
    if (!name) return 0;
    const char *digits = name + std::strcspn(name, "0123456789");
    char *end = nullptr;
    const long number = std::strtol(digits, &end, 10);
    const bool begins = digits == name || std::strchr(":.", digits[-1]);  // and no sign before it
    if (end == digits || *end || !begins || number > 1024)
        fail(CYCLEGAN_ERROR_BACKEND, "device is \"%.99s\"; expected a number, as in \"cuda:0\"",
             name);
    return static_cast<int>(number);
}

nvinfer1::Dims shape_of(int width, int height) {
    nvinfer1::Dims shape{};
    shape.nbDims = 4;
    shape.d[0] = 1, shape.d[1] = height, shape.d[2] = width, shape.d[3] = kChannels;
    return shape;
}

using Context = std::unique_ptr<nvinfer1::IExecutionContext>;

Context context_of(nvinfer1::ICudaEngine &engine) {
    Logger::forget();
    Context context(engine.createExecutionContext());
    if (!context) failed(CYCLEGAN_ERROR_BACKEND, "makes no context");
    return context;
}

void enqueue(nvinfer1::IExecutionContext &context, int width, int height, CUdeviceptr input,
             CUdeviceptr output, CUstream stream) {
    Logger::forget();
    if (!context.setInputShape(kInput, shape_of(width, height)) ||
        !context.setTensorAddress(kInput, reinterpret_cast<void *>(input)) ||
        !context.setTensorAddress(kOutput, reinterpret_cast<void *>(output)) ||
        !context.enqueueV3(stream))
        failed(CYCLEGAN_ERROR_BACKEND, "does not run the frame");
}

struct Slot {
    explicit Slot(nvinfer1::ICudaEngine &engine) : context(context_of(engine)) {
        check_cuda(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "making a stream");
    }
    ~Slot() {
        // The last callback may still be on its way out.
        cuda().cuStreamSynchronize(stream);
        cuda().cuStreamDestroy(stream);
    }

    CUstream stream = nullptr;
    Context context;
    Buffer host_input{Buffer::Where::Host}, host_output{Buffer::Where::Host};
    Buffer input{Buffer::Where::Device}, output{Buffer::Where::Device};
    int width = 0, height = 0;
    int number = 0;
    CUresult result = CUDA_SUCCESS;  // of the last frame
    std::function<void(int, std::exception_ptr)> finished;
};

// The context that frames in device memory share: its scratch memory serves one at a time.
struct DeviceSlot {
    explicit DeviceSlot(nvinfer1::ICudaEngine &engine) : context(context_of(engine)) {
        check_cuda(cuda().cuEventCreate(&done, CU_EVENT_DISABLE_TIMING), "making an event");
    }
    ~DeviceSlot() {
        cuda().cuEventSynchronize(done);
        cuda().cuEventDestroy(done);
    }

    // Room for a packed copy. Earlier frames may still be using what grows.
    CUdeviceptr room(Buffer &buffer, size_t size) const {
        if (buffer.size() < size) check_cuda(cuda().cuEventSynchronize(done), "waiting for room");
        buffer.reserve(size);
        return buffer.device();
    }

    CUevent done = nullptr;
    Context context;
    Buffer input{Buffer::Where::Device}, output{Buffer::Where::Device};
};

// On a thread of CUDA's, which takes no CUDA calls: the words for an error have to wait.
void CUDA_CB slot_done(CUstream, CUresult result, void *user) {
    Slot &slot = *static_cast<Slot *>(user);
    slot.result = result;
    slot.finished(slot.number, nullptr);
}

class TensorRt final : public Backend {
  public:
    explicit TensorRt(const OpenRequest &request)
        : precision_(request.model.precision),
          device_((check(request), device_number(request.settings.device))) {}

    // Apart from the constructor, so that the destructor clears away what it leaves when it throws.
    void load(const OpenRequest &request) {
        const Device::Current current(device_);
        Logger::forget();
        runtime_.reset(static_cast<nvinfer1::IRuntime *>(
            library().create_runtime(&logger, NV_TENSORRT_VERSION)));
        if (!runtime_) failed(CYCLEGAN_ERROR_BACKEND, "does not start");
        engine_.reset(runtime_->deserializeCudaEngine(request.model.bytes.data(),
                                                      request.model.bytes.size()));
        if (!engine_)
            failed(CYCLEGAN_ERROR_MODEL, "does not load " + request.model.name,
                   "; build it again here");
        check_tensors(request.model);
        for (int i = 0; i < (request.settings.slots ? request.settings.slots : kSlots); ++i) {
            slots_.push_back(std::make_unique<Slot>(*engine_));
            slots_.back()->number = i;
            slots_.back()->finished = request.finished;
        }
    }

    ~TensorRt() override {
        try {
            const Device::Current current(device_);
            device_slot_.reset();
            slots_.clear();
            engine_.reset();
            runtime_.reset();
        } catch (const Error &) {
            // The device is gone, and with it all that was on it.
        }
    }

    int slots() const override { return static_cast<int>(slots_.size()); }
    std::string precision() const override { return precision_; }
    std::string description() const override {
        return std::string(kFlavour) + " " + library_version() + ", " + precision_;
    }

    uint8_t *input(int number, int width, int height) override {
        const Device::Current current(device_);
        Slot &slot = *slots_[number];
        const size_t size = size_t{kChannels} * width * height;
        for (Buffer *buffer : {&slot.host_input, &slot.host_output, &slot.input, &slot.output})
            buffer->reserve(size);
        slot.width = width, slot.height = height;
        return static_cast<uint8_t *>(slot.host_input.data());
    }

    void start(int number) override {
        const Device::Current current(device_);
        Slot &slot = *slots_[number];
        const size_t size = size_t{kChannels} * slot.width * slot.height;
        try {
            check_cuda(cuda().cuMemcpyHtoDAsync(slot.input.device(), slot.host_input.data(), size,
                                                slot.stream),
                       "copying the frame in");
            enqueue(*slot.context, slot.width, slot.height, slot.input.device(),
                    slot.output.device(), slot.stream);
            check_cuda(cuda().cuMemcpyDtoHAsync(slot.host_output.data(), slot.output.device(), size,
                                                slot.stream),
                       "copying the frame out");
            check_cuda(cuda().cuStreamAddCallback(slot.stream, slot_done, &slot, 0),
                       "asking to be told");
        } catch (...) {
            cuda().cuStreamSynchronize(slot.stream);  // the buffers are free again
            throw;
        }
    }

    const uint8_t *output(int number) override {
        const Slot &slot = *slots_[number];
        check_cuda(slot.result, "while it ran the frame");
        return static_cast<const uint8_t *>(slot.host_output.data());
    }

    void translate_device(const cyclegan_frame &source, const cyclegan_frame &target,
                          void *stream) override {
        if (!stream) fail(CYCLEGAN_ERROR_ARGUMENT, "stream is NULL; expected one of your own");
        const Device::Current current(device_);
        if (!device_slot_) device_slot_ = std::make_unique<DeviceSlot>(*engine_);
        DeviceSlot &slot = *device_slot_;
        const auto queue = static_cast<CUstream>(stream);
        check_cuda(cuda().cuStreamWaitEvent(queue, slot.done, 0), "waiting for the last frame");
        const size_t size = size_t{kChannels} * source.width * source.height;
        // The network may still be reading its input while it writes its output.
        const bool apart = !overlap(source, target);
        const CUdeviceptr input =
            is_usable(source) ? address_of(source) : slot.room(slot.input, size);
        const CUdeviceptr output =
            is_usable(target) && apart ? address_of(target) : slot.room(slot.output, size);
        try {
            if (input == slot.input.device()) copy(source, input, true, queue);
            enqueue(*slot.context, source.width, source.height, input, output, queue);
            if (output == slot.output.device()) copy(target, output, false, queue);
        } catch (...) {
            cuda().cuEventRecord(slot.done, queue);  // what was enqueued still uses the buffers
            throw;
        }
        check_cuda(cuda().cuEventRecord(slot.done, queue), "marking the end of the frame");
    }

  private:
    static constexpr int kSlots = 3;  // one frame is copied in, one computed, one copied out

    static void check(const OpenRequest &request) {
        if (request.settings.precision != CYCLEGAN_FASTEST)
            fail(CYCLEGAN_ERROR_UNSUPPORTED,
                 "a plan has its precision built in, here %s; set precision to CYCLEGAN_FASTEST",
                 request.model.precision.c_str());
        check_built_for_this(request.model);
    }

    void check_tensors(const Model &model) const {
        const auto is_frames = [&](const char *name, nvinfer1::TensorIOMode mode) {
            return engine_->getTensorIOMode(name) == mode &&
                   engine_->getTensorDataType(name) == nvinfer1::DataType::kUINT8 &&
                   engine_->getTensorShape(name).nbDims == 4;
        };
        if (engine_->getNbIOTensors() == 2 && is_frames(kInput, nvinfer1::TensorIOMode::kINPUT) &&
            is_frames(kOutput, nvinfer1::TensorIOMode::kOUTPUT))
            return;
        fail(CYCLEGAN_ERROR_MODEL, "%s takes no uint8 %s and gives no uint8 %s; build it again",
             model.name.c_str(), kInput, kOutput);
    }

    static CUdeviceptr address_of(const cyclegan_frame &frame) {
        return reinterpret_cast<CUdeviceptr>(frame.data[0]);
    }

    static size_t row_of(const cyclegan_frame &frame) { return size_t{kChannels} * frame.width; }

    // Whether TensorRT takes the frame's memory as it is.
    static bool is_usable(const cyclegan_frame &frame) {
        return frame.stride[0] == row_of(frame) && address_of(frame) % kAlignment == 0;
    }

    static bool overlap(const cyclegan_frame &one, const cyclegan_frame &other) {
        const auto end = [](const cyclegan_frame &frame) {
            return address_of(frame) + frame.stride[0] * (frame.height - 1) + row_of(frame);
        };
        return address_of(one) < end(other) && address_of(other) < end(one);
    }

    static void copy(const cyclegan_frame &frame, CUdeviceptr room, bool in, CUstream stream) {
        const CUdeviceptr address = address_of(frame);
        const size_t row = row_of(frame);
        CUDA_MEMCPY2D copy{};
        copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
        copy.srcDevice = in ? address : room, copy.dstDevice = in ? room : address;
        copy.srcPitch = in ? frame.stride[0] : row, copy.dstPitch = in ? row : frame.stride[0];
        copy.WidthInBytes = row, copy.Height = static_cast<size_t>(frame.height);
        check_cuda(cuda().cuMemcpy2DAsync(&copy, stream), "packing the frame");
    }

    const std::string precision_;
    Device device_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::unique_ptr<DeviceSlot> device_slot_;
};

}  // namespace
}  // namespace cyclegan

const char *cyclegan_module_version() { return cyclegan::kBuild; }

cyclegan::Backend *cyclegan_module_open(const cyclegan::OpenRequest *request) {
    auto backend = std::make_unique<cyclegan::TensorRt>(*request);
    backend->load(*request);
    return backend.release();
}
