// cyclegan.h for C++17: what is opened is closed, and a status that is no success is an exception.
//
//     cyclegan::Translator translator("painter.onnx");
//     translator.translate(photo, painting);
//
// Header only: no C++ type crosses into the library. Rules of threads and memory: cyclegan.h.
#ifndef CYCLEGAN_CYCLEGAN_HPP
#define CYCLEGAN_CYCLEGAN_HPP

#include <cyclegan/cyclegan.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace cyclegan {

// What a function of the library reports: its status, and the sentence in what().
class Error : public std::runtime_error {
  public:
    Error(cyclegan_status status, const char *message)
        : std::runtime_error(message), status_(status) {}
    cyclegan_status status() const noexcept { return status_; }

  private:
    cyclegan_status status_;
};

inline void check(cyclegan_status status, const cyclegan_translator *translator = nullptr) {
    if (status != CYCLEGAN_OK) throw Error(status, cyclegan_last_error(translator));
}

// cyclegan_settings with its defaults; set what you need.
struct Settings : cyclegan_settings {
    Settings() : cyclegan_settings{} { check(cyclegan_default_settings(this, sizeof(cyclegan_settings))); }
};

// A frame of packed bytes. `stride` 0: rows follow one another without a gap.
inline cyclegan_frame packed_frame(void *data, int width, int height,
                                   cyclegan_format format = CYCLEGAN_RGB8, std::size_t stride = 0) {
    const std::size_t row = static_cast<std::size_t>(width) * (format == CYCLEGAN_RGBA8 ? 4 : 3);
    cyclegan_frame frame{};
    frame.struct_size = sizeof frame;
    frame.width = width;
    frame.height = height;
    frame.format = format;
    frame.data[0] = data;
    frame.stride[0] = stride != 0 ? stride : row;
    return frame;
}

class Translator;

// A frame in flight; it is dropped when this goes before it was collected. The translator stays
// where its handle is: this may outlive it, and then reports that it was closed.
class Ticket {
  public:
    Ticket(Ticket &&other) noexcept
        : translator_(other.translator_), ticket_(std::exchange(other.ticket_, 0)) {}
    Ticket &operator=(Ticket &&other) noexcept {
        std::swap(translator_, other.translator_);
        std::swap(ticket_, other.ticket_);
        return *this;
    }
    ~Ticket() {
        if (ticket_ != 0) cyclegan_cancel(translator_, ticket_);
    }

    bool done() const {
        const int done = cyclegan_done(translator_, ticket_);
        if (done < 0) check(static_cast<cyclegan_status>(done), translator_);
        return done == 1;
    }
    void wait() const { check(cyclegan_wait(translator_, ticket_, -1), translator_); }
    // Whether it is done within so many milliseconds.
    bool wait_for(std::int64_t milliseconds) const {
        const cyclegan_status status = cyclegan_wait(translator_, ticket_, milliseconds);
        if (status == CYCLEGAN_ERROR_TIMEOUT) return false;
        check(status, translator_);
        return true;
    }
    // Waits, writes the frame, and uses the ticket up.
    void collect(const cyclegan_frame &target) {
        check(cyclegan_collect(translator_, ticket_, &target), translator_);
        ticket_ = 0;
    }

  private:
    friend class Translator;
    Ticket(cyclegan_translator *translator, cyclegan_ticket ticket)
        : translator_(translator), ticket_(ticket) {}
    cyclegan_translator *translator_;
    cyclegan_ticket ticket_;
};

class Translator {
  public:
    explicit Translator(const std::string &path, const Settings &settings = Settings()) {
        check(cyclegan_open(&translator_, path.c_str(), &settings));
    }
    Translator(Translator &&other) noexcept
        : translator_(std::exchange(other.translator_, nullptr)) {}
    Translator &operator=(Translator &&other) noexcept {
        std::swap(translator_, other.translator_);
        return *this;
    }
    ~Translator() { cyclegan_close(&translator_); }

    void translate(const cyclegan_frame &source, const cyclegan_frame &target) {
        check(cyclegan_translate(translator_, &source, &target), translator_);
    }
    [[nodiscard]] Ticket submit(const cyclegan_frame &source) {
        cyclegan_ticket ticket = 0;
        check(cyclegan_submit(translator_, &source, &ticket), translator_);
        return Ticket(translator_, ticket);
    }
    void translate_device(const cyclegan_frame &source, const cyclegan_frame &target,
                          void *stream) {
        check(cyclegan_translate_device(translator_, &source, &target, stream), translator_);
    }
    cyclegan_info info() const {
        cyclegan_info info{};
        info.struct_size = sizeof info;
        check(cyclegan_query(translator_, &info), translator_);
        return info;
    }
    // The handle, which stays this object's.
    cyclegan_translator *get() const noexcept { return translator_; }

  private:
    cyclegan_translator *translator_ = nullptr;
};

}  // namespace cyclegan

#endif
