// Inference on CPUs (and Intel GPUs) with OpenVINO: asynchronous requests, one a slot. The settings
// are those of the Python translator, so that both give the same bytes.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <openvino/runtime/core.hpp>
#include <openvino/runtime/properties.hpp>
#include <system_error>

#include "backend.h"
#include "build_info.h"
#include "error.h"

namespace cyclegan {
namespace {

struct Precision {
    cyclegan_precision precision;
    const char *capability;
    ov::element::Type type;
};

const Precision kPrecisions[] = {  // the fastest first
    {CYCLEGAN_BFLOAT16, "BF16", ov::element::bf16},
    {CYCLEGAN_FLOAT16, "FP16", ov::element::f16},
    {CYCLEGAN_FLOAT32, "FP32", ov::element::f32},
};

// Kernels for sizes that were seen before: enough for a few that take turns. OpenVINO would keep ten
// times as many, which frames of ever new sizes fill with gigabytes.
constexpr const char *kMostKernels = "500";

ov::Core *new_core() {
    auto made = std::make_unique<ov::Core>();
    try {
        made->set_property("CPU", {{"CPU_RUNTIME_CACHE_CAPACITY", kMostKernels}});
    } catch (const ov::Exception &) {  // what is not there, or known no more, bounds nothing
    }
    return made.release();
}

// One a process, and never destroyed: a core takes the signal stack of the thread that loads it
// away when it goes, and of several the last to go can leave one that is gone already.
ov::Core &core() {
    static ov::Core &core = *new_core();
    return core;
}

ov::element::Type type_for(const std::string &device, int asked) {
    const auto able = core().get_property(device, ov::device::capabilities);
    for (const Precision &one : kPrecisions) {
        const bool is_able = one.precision == CYCLEGAN_FLOAT32 ||
                             std::ranges::find(able, one.capability) != able.end();
        if (asked == CYCLEGAN_FASTEST && is_able) return one.type;
        if (asked == one.precision && is_able) return one.type;
    }
    std::string names;
    for (const std::string &name : able) names += (names.empty() ? "" : ", ") + name;
    fail(CYCLEGAN_ERROR_UNSUPPORTED,
         "the precision asked for is not among what %s computes in (%s); use CYCLEGAN_FASTEST",
         device.c_str(), names.c_str());
}

// OpenVINO tells of missing memory in words alone. A promise is broken where it once began to make
// the same primitive and had no memory for it: oneDNN keeps the promise.
bool ran_out_of_memory(const std::string &words) {
    for (const char *said : {"bad_alloc", "can't alloc", "Failed to allocate", "Broken promise"})
        if (words.find(said) != words.npos) return true;
    return false;
}

// What OpenVINO threw, as ours.
[[noreturn]] void failed(const std::string &doing, const ov::Exception &error) {
    if (ran_out_of_memory(error.what()))
        fail(CYCLEGAN_ERROR_MEMORY, "out of memory: OpenVINO cannot %s: %s", doing.c_str(),
             error.what());
    fail(CYCLEGAN_ERROR_BACKEND, "OpenVINO cannot %s: %s", doing.c_str(), error.what());
}

std::exception_ptr as_ours(std::exception_ptr error) {
    if (!error) return nullptr;
    try {
        std::rethrow_exception(error);
    } catch (const ov::Exception &caught) {
        try {
            failed("run the frame", caught);
        } catch (...) {
            return std::current_exception();
        }
    } catch (...) {
        return std::current_exception();
    }
}

// OpenVINO keeps the threads of a model that goes for the next one. A process that is forked then has
// none of them, and would wait for them for ever.
class Threads {
  public:
    Threads() {
        if (const pid_t process = kept_by; process && process != ::getpid())
            fail(CYCLEGAN_ERROR_BACKEND,
                 "OpenVINO keeps threads of a model that process %d has closed, and this process, "
                 "which was forked from it since, lacks them: fork before the first "
                 "cyclegan_close, or start a program of its own",
                 static_cast<int>(process));
    }
    ~Threads() {
        if (may_be_there_) kept_by = ::getpid();
    }
    Threads(const Threads &) = delete;
    // Before a model is compiled: that makes them, also where it fails later.
    void expect() { may_be_there_ = true; }

  private:
    static inline std::atomic<pid_t> kept_by{0};
    bool may_be_there_ = false;
};

class OpenVino final : public Backend {
  public:
    explicit OpenVino(const OpenRequest &request) {
        const cyclegan_settings &settings = request.settings;
        const std::string device = settings.device ? settings.device : "CPU";
        type_ = type_for(device, settings.precision);
        ov::AnyMap hints{ov::hint::inference_precision(type_),
                         ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
        if (settings.threads) hints.insert(ov::inference_num_threads(settings.threads));
        // What it keeps is named after the model alone, so that one precision would get another's.
        if (settings.cache_folder) {
            const auto folder = std::filesystem::path(settings.cache_folder) / precision();
            std::error_code problem;
            std::string cannot = "compiled models are not kept: cannot make ";
            std::filesystem::create_directories(folder, problem);
            if (!problem) {
                hints.insert(ov::cache_dir(folder.string()));  // to read, even if not to write
                cannot = "new compiled models are not kept: cannot write to ";
                if (::access(folder.c_str(), W_OK) != 0)
                    problem.assign(errno, std::generic_category());
            }
            if (problem)
                request.log(CYCLEGAN_LOG_WARNING,
                            cannot + folder.string() + ": " + problem.message() +
                                "; set cache_folder to one that can be written");
        }
        auto model = core().read_model(request.model.bytes, ov::Tensor());
        if (request.width) model->reshape(ov::PartialShape{1, request.height, request.width, 3});
        threads_.expect();
        ov::CompiledModel compiled = core().compile_model(model, device, hints);
        for (int slot = 0; slot < (settings.slots ? settings.slots : kSlots); ++slot) {
            slots_.push_back({compiled.create_infer_request(), {}});
        }
        if (request.width) take_memory(request.width, request.height);
        for (int slot = 0; slot < slots(); ++slot) {
            slots_[slot].request.set_callback(
                [finished = request.finished, slot](std::exception_ptr error) {
                    finished(slot, as_ours(error));
                });
        }
    }

    ~OpenVino() override {
        for (Slot &slot : slots_) {
            try {
                slot.request.wait();  // its callback may still be on its way out
            } catch (const std::exception &) {
                // Whose frame that was has been told.
            }
        }
    }

    int slots() const override { return static_cast<int>(slots_.size()); }
    std::string precision() const override { return type_.to_string(); }
    std::string description() const override { return "OpenVINO, " + precision(); }

    uint8_t *input(int number, int width, int height) override {
        Slot &slot = slots_[number];
        settle(slot.request);
        const ov::Shape shape{1, static_cast<size_t>(height), static_cast<size_t>(width), 3};
        slot.input.resize(ov::shape_size(shape));
        slot.request.set_input_tensor(ov::Tensor(ov::element::u8, shape, slot.input.data()));
        return slot.input.data();
    }

    void start(int slot) override { slots_[slot].request.start_async(); }

    const uint8_t *output(int number) override {
        Slot &slot = slots_[number];
        settle(slot.request);
        const ov::Tensor made = slot.request.get_output_tensor();
        if (made.get_byte_size() != slot.input.size())
            fail(CYCLEGAN_ERROR_MODEL,
                 "the graph makes %zu bytes of a frame of %zu; expected as many: export it again",
                 made.get_byte_size(), slot.input.size());
        return made.data<const uint8_t>();
    }

    void translate_device(const cyclegan_frame &, const cyclegan_frame &, void *) override {
        fail(CYCLEGAN_ERROR_UNSUPPORTED,
             "OpenVINO translates host memory here; use cyclegan_translate");
    }

  private:
    // One batch runs while the next waits behind it, so that the cores never idle between two.
    static constexpr int kSlots = 2;

    struct Slot {
        ov::InferRequest request;
        // Not OpenVINO's own tensor, which points to nothing where memory has run out.
        std::vector<uint8_t> input;
    };

    // All of it: AMX needs some more at the first frame, whichever request brings it. Not by infer,
    // for which OpenVINO would keep a stream for the calling thread.
    void take_memory(int width, int height) {
        for (int slot = 0; slot < slots(); ++slot) input(slot, width, height);
        slots_.front().request.start_async();
        slots_.front().request.wait();
    }

    // Idle already, but for the last steps of the thread that called back.
    static void settle(ov::InferRequest &request) {
        try {
            request.wait();
        } catch (const ov::Exception &) {
            // The callback has told it.
        }
    }

    Threads threads_;
    ov::element::Type type_;
    std::vector<Slot> slots_;
};

}  // namespace
}  // namespace cyclegan

const char *cyclegan_module_version() { return cyclegan::kBuild; }

cyclegan::Backend *cyclegan_module_open(const cyclegan::OpenRequest *request) {
    using namespace cyclegan;
    try {
        return new OpenVino(*request);
    } catch (const ov::Exception &error) {
        failed("run " + request->model.name, error);
    }
}
