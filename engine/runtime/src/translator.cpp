#include "translator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "error.h"
#include "pixels.h"
#include "registry.h"
#include "text.h"

namespace cyclegan {
namespace {

// Below this side the reflections inside a generator find nothing to mirror.
constexpr int kSmallestSide = 8;

[[noreturn]] void closed() { fail(CYCLEGAN_ERROR_HANDLE, "the translator was closed meanwhile"); }

cyclegan_backend backend_for(const Model &model, int asked) {
    const bool plan = model.kind == Model::Kind::Plan;
    const cyclegan_backend fits = plan ? CYCLEGAN_TENSORRT : CYCLEGAN_OPENVINO;
    if (asked == CYCLEGAN_AUTO || asked == fits) return fits;
    fail(CYCLEGAN_ERROR_UNSUPPORTED, "%s is %s; set backend to CYCLEGAN_AUTO, or %s",
         model.name.c_str(),
         plan ? "a TensorRT plan, which OpenVINO does not run"
              : "an ONNX graph, which TensorRT runs once it is built",
         plan ? "open the .onnx file" : "build a plan with `cyclegan build`");
}

}  // namespace

Translator::Translator(const char *path, const cyclegan_settings &settings)
    : settings_(settings), model_(read_model(path)) {
    if (settings.width) {
        width_ = padded(settings.width), height_ = padded(settings.height);
        check_size(settings.width, settings.height);
    }
    const OpenRequest request{
        .model = model_,
        .settings = settings,
        .width = width_,
        .height = height_,
        .log = [this](cyclegan_log_level level, const std::string &text) { log(level, text); },
        .finished = [this](int slot, std::exception_ptr error) { finished(slot, error); },
    };
    if (!model_.warning.empty()) log(CYCLEGAN_LOG_WARNING, model_.warning);
    backend_.reset(open_backend(backend_for(model_, settings.backend), request));
    slots_.resize(backend_->slots());
    std::string().swap(model_.bytes);
    if (width_) drain_at_exit();  // the backend has computed a frame
    log(CYCLEGAN_LOG_INFO, model_.name + " is open: " + backend_->description());
}

Translator::~Translator() { drain(); }

void Translator::translate(const cyclegan_frame &source, const cyclegan_frame &target) {
    check_size(source.width, source.height);
    if (source.width != target.width || source.height != target.height)
        fail(CYCLEGAN_ERROR_SIZE, "source is %dx%d, target %dx%d; expected one size", source.width,
             source.height, target.width, target.height);
    const int slot = free_slot(true);
    begin(slot, source);
    {
        Lock lock(mutex_);
        wait_until(lock, [&] { return slots_[slot].state == State::Finished; });
        slots_[slot].state = State::Reading;
    }
    read(slot, target);
}

cyclegan_ticket Translator::submit(const cyclegan_frame &source) {
    // Unique among all translators, so that one's ticket is never taken for another's.
    static std::atomic<cyclegan_ticket> last{0};
    check_size(source.width, source.height);
    const int slot = free_slot(false);
    const cyclegan_ticket ticket = ++last;
    {
        Lock lock(mutex_);
        slots_[slot].ticket = ticket;
    }
    begin(slot, source);
    return ticket;
}

bool Translator::done(cyclegan_ticket ticket) {
    Lock lock(mutex_);
    return slots_[find(ticket)].state == State::Finished;
}

void Translator::wait(cyclegan_ticket ticket, int64_t timeout_ms) {
    constexpr int64_t kForEver = int64_t{1} << 40;  // thirty years
    const bool forever = timeout_ms < 0 || timeout_ms >= kForEver;
    Lock lock(mutex_);
    const auto over = std::chrono::steady_clock::now() +
                      std::chrono::milliseconds(forever ? 0 : timeout_ms);
    const auto ready = [&] { return slots_[find(ticket)].state == State::Finished; };
    if (forever) return wait_until(lock, ready);
    if (!changed_.wait_until(lock, over, [&] { return closed_ || ready(); }))
        fail(CYCLEGAN_ERROR_TIMEOUT, "the frame is not done after %lld ms",
             static_cast<long long>(timeout_ms));
    if (closed_) closed();
}

void Translator::collect(cyclegan_ticket ticket, const cyclegan_frame &target) {
    int slot;
    {
        Lock lock(mutex_);
        slot = find(ticket);
        const Slot &taken = slots_[slot];
        if (target.width != taken.width || target.height != taken.height)
            fail(CYCLEGAN_ERROR_SIZE, "target is %dx%d, and the frame %dx%d; expected its size",
                 target.width, target.height, taken.width, taken.height);
        wait_until(lock, [&] { return slots_[find(ticket)].state == State::Finished; });
        slots_[slot].state = State::Reading;
    }
    read(slot, target);
}

void Translator::cancel(cyclegan_ticket ticket) {
    Lock lock(mutex_);
    Slot &slot = slots_[find(ticket)];
    slot.cancelled = true;
    if (slot.state == State::Finished) slot = Slot();
    changed_.notify_all();
}

void Translator::translate_device(const cyclegan_frame &source, const cyclegan_frame &target,
                                  void *stream) {
    for (const cyclegan_frame *frame : {&source, &target})
        if (frame->format != CYCLEGAN_RGB8)
            fail(CYCLEGAN_ERROR_ARGUMENT, "frames in device memory have format %d; expected RGB8",
                 frame->format);
    check_size(source.width, source.height);
    if (source.width != target.width || source.height != target.height ||
        padded(source.width) != source.width || padded(source.height) != source.height)
        fail(CYCLEGAN_ERROR_SIZE,
             "source is %dx%d, target %dx%d; in device memory both have one size, with sides of "
             "at least %d that are multiples of %d",
             source.width, source.height, target.width, target.height, kSmallestSide,
             model_.size_multiple);
    const std::lock_guard lock(device_);
    backend_->translate_device(source, target, stream);
}

void Translator::query(cyclegan_info &info) const {
    info = {};
    info.struct_size = sizeof info;
    info.backend = backend_for(model_, CYCLEGAN_AUTO);
    info.slots = static_cast<int32_t>(slots_.size());
    info.size_multiple = model_.size_multiple;
    const Sizes &sizes = model_.sizes;
    const bool one = sizes.least_width == sizes.most_width && sizes.least_height == sizes.most_height;
    info.width = one && !width_ ? sizes.most_width : settings_.width;
    info.height = one && !width_ ? sizes.most_height : settings_.height;
    info.formats = (1u << (CYCLEGAN_NV24 + 1)) - 1;  // all
    copy_text(info.source, sizeof info.source, model_.source);
    copy_text(info.target, sizeof info.target, model_.target);
    copy_text(info.precision, sizeof info.precision, backend_->precision());
    copy_text(info.description, sizeof info.description, backend_->description());
    copy_text(info.weights_sha256, sizeof info.weights_sha256, model_.weights_sha256);
}

void Translator::close() noexcept {
    Lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
}

void Translator::drain() noexcept {
    Lock lock(mutex_);
    changed_.wait(lock, [this] {
        return std::ranges::none_of(slots_, [](Slot &s) { return s.state == State::Running; });
    });
}

void Translator::log(cyclegan_log_level level, const std::string &message) const {
    if (settings_.log) settings_.log(settings_.log_user, level, message.c_str());
}

int Translator::padded(int side) const {
    const int multiple = model_.size_multiple;
    return (std::max(side, kSmallestSide) + multiple - 1) / multiple * multiple;
}

void Translator::check_size(int frame_width, int frame_height) const {
    const Sizes &sizes = model_.sizes;
    const int width = padded(frame_width), height = padded(frame_height);
    if (width < sizes.least_width || width > sizes.most_width || height < sizes.least_height ||
        height > sizes.most_height)
        fail(CYCLEGAN_ERROR_SIZE, "the frame is %dx%d; this plan was built for %dx%d to %dx%d",
             frame_width, frame_height, sizes.least_width, sizes.least_height, sizes.most_width,
             sizes.most_height);
    if (!width_ || (width == width_ && height == height_)) return;
    fail(CYCLEGAN_ERROR_SIZE,
         "the frame is %dx%d, but this translator was opened for %dx%d; open it with width and "
         "height 0 to take any",
         frame_width, frame_height, settings_.width, settings_.height);
}

// A slot that is the caller's to fill. With `wait`, waits while other threads' calls will free one.
int Translator::free_slot(bool wait) {
    Lock lock(mutex_);
    const auto is_free = [](const Slot &slot) { return slot.state == State::Free; };
    const auto stuck = [](const Slot &slot) { return slot.waits_for_caller(); };
    const auto any_free = [&] { return std::ranges::any_of(slots_, is_free); };
    if (wait) wait_until(lock, [&] { return any_free() || std::ranges::all_of(slots_, stuck); });
    if (closed_) closed();
    if (!any_free())
        fail(CYCLEGAN_ERROR_BUSY, "all %zu slots hold frames; collect or cancel one first",
             slots_.size());
    const auto slot = std::ranges::find_if(slots_, is_free);
    slot->state = State::Filling;
    return static_cast<int>(slot - slots_.begin());
}

void Translator::begin(int number, const cyclegan_frame &source) {
    const int width = padded(source.width), height = padded(source.height);
    try {
        rgb_from_frame(source, backend_->input(number, width, height), width, height);
        {
            Lock lock(mutex_);
            if (closed_) closed();
            Slot &slot = slots_[number];
            slot.width = source.width, slot.height = source.height, slot.padded_width = width;
            slot.state = State::Running;  // before it runs: it may end before start() returns
        }
        backend_->start(number);
    } catch (...) {
        release(number);
        throw;
    }
}

// On a thread of the backend.
void Translator::finished(int number, std::exception_ptr error) {
    drain_at_exit();  // here: the program may make no further call before it ends
    Lock lock(mutex_);
    Slot &slot = slots_[number];
    if (slot.cancelled) {
        slot = Slot();
    } else {
        slot.state = State::Finished;
        slot.error = std::move(error);
    }
    changed_.notify_all();
}

void Translator::read(int number, const cyclegan_frame &target) {
    try {
        // This slot is this thread's alone now.
        const Slot &slot = slots_[number];
        if (slot.error) std::rethrow_exception(slot.error);
        frame_from_rgb(target, backend_->output(number), slot.padded_width);
    } catch (...) {
        release(number);
        throw;
    }
    release(number);
}

void Translator::release(int slot) noexcept {
    Lock lock(mutex_);
    slots_[slot] = Slot();
    changed_.notify_all();
}

int Translator::find(cyclegan_ticket ticket) const {
    const auto slot = std::ranges::find_if(slots_, [&](const Slot &one) {
        return one.ticket == ticket && one.waits_for_caller();
    });
    if (slot == slots_.end())
        fail(CYCLEGAN_ERROR_TICKET,
             "no frame in flight has ticket %llu; a ticket is collected or cancelled once",
             static_cast<unsigned long long>(ticket));
    return static_cast<int>(slot - slots_.begin());
}

template <class Ready> void Translator::wait_until(Lock &lock, Ready ready) {
    changed_.wait(lock, [&] { return closed_ || ready(); });
    if (closed_) closed();
}

}  // namespace cyclegan
