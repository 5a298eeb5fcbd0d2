// What a backend is to the rest of the library: a module of its own, loaded when it is asked for,
// so that a machine without one backend's libraries still runs the other's.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>

#include "cyclegan/cyclegan.h"
#include "model_file.h"

namespace cyclegan {

struct OpenRequest {
    const Model &model;
    cyclegan_settings settings;  // with slots as given: 0 lets the backend choose
    int width = 0, height = 0;   // of all frames as the network takes them, or 0 and 0
    std::function<void(cyclegan_log_level, const std::string &)> log;
    // Called once for every start() that returned, on any thread, when the output is there; null
    // where all went well. It may run before start() returns.
    std::function<void(int slot, std::exception_ptr error)> finished;
};

// One loaded model with its slots, each of which holds one frame from input() until the caller has
// read output(). Different slots may be used from different threads at once. All functions throw
// Error, std::bad_alloc, or whatever the backend's library throws.
class Backend {
  public:
    Backend() = default;
    Backend(const Backend &) = delete;
    Backend &operator=(const Backend &) = delete;
    virtual ~Backend() = default;  // no slot is in use

    virtual int slots() const = 0;
    virtual std::string precision() const = 0;
    virtual std::string description() const = 0;
    // Where the packed RGB of the slot's frame is to be written. Throws SIZE for one it lacks.
    virtual uint8_t *input(int slot, int width, int height) = 0;
    virtual void start(int slot) = 0;
    // The packed RGB of the translated frame, of the size of the input; or throws what went wrong.
    virtual const uint8_t *output(int slot) = 0;
    virtual void translate_device(const cyclegan_frame &source, const cyclegan_frame &target,
                                  void *stream) = 0;
};

// Opens `backend` for the model: finds the module, checks that it is this version's, loads it once
// a process. Throws Error.
Backend *open_backend(cyclegan_backend backend, const OpenRequest &request);

}  // namespace cyclegan

// What every module defines.
extern "C" {
CYCLEGAN_API const char *cyclegan_module_version();
CYCLEGAN_API cyclegan::Backend *cyclegan_module_open(const cyclegan::OpenRequest *request);
}
