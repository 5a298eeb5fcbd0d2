// One open model: its slots, the frames in flight, and who waits for what.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "backend.h"
#include "cyclegan/cyclegan.h"
#include "model_file.h"

namespace cyclegan {

// All functions may be called from any thread, and throw Error or std::bad_alloc. Frames were
// checked by check_frame.
class Translator {
  public:
    Translator(const char *path, const cyclegan_settings &settings);
    ~Translator();  // after close(), when no thread is inside any more

    void translate(const cyclegan_frame &source, const cyclegan_frame &target);
    cyclegan_ticket submit(const cyclegan_frame &source);
    bool done(cyclegan_ticket ticket);
    void wait(cyclegan_ticket ticket, int64_t timeout_ms);
    void collect(cyclegan_ticket ticket, const cyclegan_frame &target);
    void cancel(cyclegan_ticket ticket);
    void translate_device(const cyclegan_frame &source, const cyclegan_frame &target, void *stream);
    void query(cyclegan_info &info) const;
    // Every thread that waits inside ends with HANDLE, and no frame is begun any more.
    void close() noexcept;
    // After close(): waits until the backend works on no frame.
    void drain() noexcept;

  private:
    enum class State { Free, Filling, Running, Finished, Reading };

    struct Slot {
        State state = State::Free;
        cyclegan_ticket ticket = 0;  // of a frame that was submitted; 0: translate() holds it
        bool cancelled = false;
        int width = 0, height = 0, padded_width = 0;
        std::exception_ptr error;

        bool waits_for_caller() const {
            return ticket && !cancelled && (state == State::Running || state == State::Finished);
        }
    };
    using Lock = std::unique_lock<std::mutex>;

    void log(cyclegan_log_level level, const std::string &message) const;
    int padded(int side) const;
    void check_size(int frame_width, int frame_height) const;
    int free_slot(bool wait);
    void begin(int slot, const cyclegan_frame &source);
    void finished(int slot, std::exception_ptr error);
    void read(int slot, const cyclegan_frame &target);
    void release(int slot) noexcept;
    int find(cyclegan_ticket ticket) const;
    template <class Ready> void wait_until(Lock &lock, Ready ready);

    const cyclegan_settings settings_;
    Model model_;
    int width_ = 0, height_ = 0;  // the only padded size taken, or 0
    std::mutex mutex_;
    std::condition_variable changed_;
    std::mutex device_;  // translate_device is enqueued one at a time
    bool closed_ = false;
    std::vector<Slot> slots_;
    std::unique_ptr<Backend> backend_;  // goes first: it waits for its own threads
};

}  // namespace cyclegan
