// Which handles are open. A handle is a number that is never given twice, so that one that was
// closed, or never opened, is told from one that is open without touching memory that is gone.
#pragma once

#include <memory>

#include "cyclegan/cyclegan.h"
#include "translator.h"

namespace cyclegan {

struct Entry;

// A call on a handle; as long as it lasts, the translator does. Throws Error with HANDLE.
class Call {
  public:
    explicit Call(const cyclegan_translator *handle);
    ~Call();
    Call(const Call &) = delete;
    Translator &operator*() const;
    Translator *operator->() const { return &**this; }

  private:
    std::shared_ptr<Entry> entry_;
};

cyclegan_translator *register_translator(std::unique_ptr<Translator> translator);
// Closes and destroys the translator, once every call on it has ended. Lets unknown handles pass.
void close_translator(const cyclegan_translator *handle) noexcept;

// From now on exit() waits for frames in flight. To be called after the backend's first frame: what a
// library makes last goes first at exit, and a frame that is waited for needs all of it.
void drain_at_exit();

// What the last failed call left: of this thread if it was on the handle, else of any thread on a
// handle that is open, else of this thread without one.
void set_error(const cyclegan_translator *handle, const char *message) noexcept;
// In a buffer of this thread that stays until the next call.
const char *last_error(const cyclegan_translator *handle) noexcept;

}  // namespace cyclegan
