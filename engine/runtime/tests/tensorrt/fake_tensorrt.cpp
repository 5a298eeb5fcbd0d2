// A TensorRT whose network gives the negative of a frame: what the backend calls, on fake_cuda. The
// content of a plan says what it is: "negative", "floats" (tensors of another type), or anything
// else, which is refused.
#include <NvInferRuntime.h>

#include <cstring>
#include <map>
#include <string>

#include "fake_cuda.h"
#include "stubs.h"

namespace {

using namespace nvinfer1;

// TensorRT's objects are shells that call what stands behind mImpl.
struct Context : IExecutionContext, apiv::StubExecutionContext {
    Context() { mImpl = this; }

    bool setInputShape(const char *, const Dims &shape) noexcept override {
        size = static_cast<size_t>(shape.d[0] * shape.d[1] * shape.d[2] * shape.d[3]);
        return shape.nbDims == 4;
    }
    bool setTensorAddress(const char *name, void *address) noexcept override {
        addresses[name] = static_cast<uint8_t *>(address);
        return reinterpret_cast<uintptr_t>(address) % 256 == 0;
    }
    bool enqueueV3(cudaStream_t stream) noexcept override {
        uint8_t *from = addresses["frames"], *to = addresses["translated"];
        const auto is_device = [&](const uint8_t *address) {
            return fake_cuda_owns(reinterpret_cast<CUdeviceptr>(address), size);
        };
        const bool apart = from + size <= to || to + size <= from;  // it may read on as it writes
        if (fake_cuda_failure("enqueueV3") != CUDA_SUCCESS || !is_device(from) ||
            !is_device(to) || !apart)
            return false;
        fake_cuda_enqueue(stream, [from, to, count = size] {
            for (size_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(255 - from[i]);
            return fake_cuda_failure("kernel");
        });
        return true;
    }

    size_t size = 0;
    std::map<std::string, uint8_t *> addresses;
};

struct Engine : ICudaEngine, apiv::StubCudaEngine {
    Engine(bool of_floats, ILogger &to) : floats(of_floats), logger(to) { mImpl = this; }

    IExecutionContext *createExecutionContext(
        ExecutionContextAllocationStrategy) noexcept override {
        const CUresult result = fake_cuda_failure("createExecutionContext");
        if (result == CUDA_SUCCESS) return new Context;
        if (result == CUDA_ERROR_OUT_OF_MEMORY)  // in these words
            for (const char *words : {"Error Code 1: Cuda Runtime (out of memory)", "and no more"})
                logger.log(ILogger::Severity::kERROR, words);
        return nullptr;
    }
    int32_t getNbIOTensors() const noexcept override { return 2; }
    TensorIOMode getTensorIOMode(const char *name) const noexcept override {
        return std::strcmp(name, "frames") ? TensorIOMode::kOUTPUT : TensorIOMode::kINPUT;
    }
    DataType getTensorDataType(const char *) const noexcept override {
        return floats ? DataType::kFLOAT : DataType::kUINT8;
    }
    Dims getTensorShape(const char *) const noexcept override { return Dims{4, {-1, -1, -1, 3}}; }

    const bool floats;
    ILogger &logger;
};

struct Runtime : IRuntime, apiv::StubRuntime {
    explicit Runtime(ILogger &to) : logger(to) { mImpl = this; }

    ICudaEngine *deserializeCudaEngine(const void *plan, size_t size) noexcept override {
        const std::string content(static_cast<const char *>(plan), size);
        if (content == "negative" || content == "floats")
            return new Engine(content == "floats", logger);
        logger.log(ILogger::Severity::kERROR, "magic tag does not match");
        return nullptr;
    }

    ILogger &logger;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) int32_t getInferLibVersion() noexcept {
    return static_cast<int32_t>(NV_TENSORRT_VERSION);
}

extern "C" __attribute__((visibility("default"))) void *createInferRuntime_INTERNAL(
    void *logger, int32_t version) noexcept {
    if (version != NV_TENSORRT_VERSION) return nullptr;
    return static_cast<IRuntime *>(new Runtime(*static_cast<ILogger *>(logger)));
}
