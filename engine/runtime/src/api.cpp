// The C functions: arguments are checked, exceptions end here.
#include <pthread.h>

#include <climits>
#include <cstring>
#include <new>

#include "cyclegan/cyclegan.h"
#include "error.h"
#include "pixels.h"
#include "registry.h"

namespace {

using namespace cyclegan;

cyclegan_settings defaults() {
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    return settings;
}

void check_settings(const cyclegan_settings *given) {
    if (reinterpret_cast<uintptr_t>(given) % alignof(cyclegan_settings))
        fail(CYCLEGAN_ERROR_ARGUMENT, "settings are at a misaligned address");
    if (given->struct_size != sizeof *given)
        fail(CYCLEGAN_ERROR_ARGUMENT,
             "settings: struct_size is %zu; expected %zu, as cyclegan_default_settings sets it",
             given->struct_size, sizeof *given);
    const auto within = [](const char *name, int value, int least, int most) {
        if (value < least || value > most)
            fail(CYCLEGAN_ERROR_ARGUMENT, "settings: %s is %d; expected %d to %d", name, value,
                 least, most);
    };
    within("backend", given->backend, CYCLEGAN_AUTO, CYCLEGAN_TENSORRT);
    within("precision", given->precision, CYCLEGAN_FASTEST, CYCLEGAN_FLOAT16);
    within("width", given->width, 0, kLargestSide);
    within("height", given->height, 0, kLargestSide);
    within("slots", given->slots, 0, 16);
    within("threads", given->threads, 0, 4096);
    if (!given->width != !given->height)
        fail(CYCLEGAN_ERROR_ARGUMENT, "settings: size is %dx%d; set both sides or none",
             given->width, given->height);
    const auto not_empty = [](const char *name, const char *value, const char *instead) {
        if (value && !*value)
            fail(CYCLEGAN_ERROR_ARGUMENT, "settings: %s is empty; set %s", name, instead);
    };
    not_empty("device", given->device, "a name, as in \"CPU\", or NULL for the backend's choice");
    not_empty("cache_folder", given->cache_folder, "a folder, or NULL for none");
    for (uintptr_t word : given->reserved)
        if (word) fail(CYCLEGAN_ERROR_ARGUMENT, "settings: the reserved room is not zero");
}

template <class T> T &checked(T *pointer, const char *name) {
    if (!pointer) fail(CYCLEGAN_ERROR_ARGUMENT, "%s is NULL", name);
    if (reinterpret_cast<uintptr_t>(pointer) % alignof(T))
        fail(CYCLEGAN_ERROR_ARGUMENT, "%s is at a misaligned address", name);
    return *pointer;
}

// The status of the exception that is being handled; its message goes to where it is asked for.
cyclegan_status caught(const cyclegan_translator *handle) noexcept {
    cyclegan_status status = CYCLEGAN_ERROR_BACKEND;
    try {
        throw;
    } catch (const Error &error) {
        status = error.status;
        set_error(handle, error.what());
    } catch (const std::bad_alloc &) {
        status = CYCLEGAN_ERROR_MEMORY;
        set_error(handle, "out of memory");
    } catch (const std::exception &error) {
        set_error(handle, error.what());
    } catch (...) {
        status = CYCLEGAN_ERROR_INTERNAL;
        set_error(handle, "an exception of unknown kind");
    }
    return status;
}

// A thread that is cancelled leaves a call when it is done: to unwind it from inside, as glibc does
// with an exception that may be neither kept nor stopped, would end the process.
class NotCancelled {
  public:
    NotCancelled() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    ~NotCancelled() { ::pthread_setcancelstate(before_, nullptr); }
    NotCancelled(const NotCancelled &) = delete;

  private:
    int before_;
};

template <class Body> cyclegan_status guarded(const cyclegan_translator *handle, Body body) noexcept {
    const NotCancelled whole_call;
    try {
        body();
        return CYCLEGAN_OK;
    } catch (...) {
        return caught(handle);
    }
}

}  // namespace

uint32_t cyclegan_version(void) {
    return CYCLEGAN_VERSION_MAJOR << 16 | CYCLEGAN_VERSION_MINOR << 8 | CYCLEGAN_VERSION_PATCH;
}

const char *cyclegan_status_string(cyclegan_status status) {
    static const char *const kWords[] = {
        "ok",           "invalid argument", "invalid handle", "invalid ticket",
        "out of memory", "unreadable file",  "unusable model", "version does not fit",
        "unusable size", "backend failed",   "not supported",  "all slots are taken",
        "not done yet",  "internal error"};
    const int number = static_cast<int>(status);
    const int count = static_cast<int>(sizeof kWords / sizeof *kWords);
    return number <= 0 && number > -count ? kWords[-number] : "unknown status";
}

const char *cyclegan_last_error(const cyclegan_translator *translator) {
    return last_error(translator);
}

cyclegan_status cyclegan_default_settings(cyclegan_settings *settings, size_t struct_size) {
    return guarded(nullptr, [&] {
        cyclegan_settings &to = checked(settings, "settings");
        if (struct_size != sizeof to)
            fail(CYCLEGAN_ERROR_ARGUMENT, "settings have %zu bytes; expected %zu", struct_size,
                 sizeof to);
        to = defaults();
    });
}

cyclegan_status cyclegan_open(cyclegan_translator **translator, const char *path,
                              const cyclegan_settings *settings) {
    return guarded(nullptr, [&] {
        checked(translator, "translator") = nullptr;
        checked(path, "path");
        const cyclegan_settings standard = defaults();
        const cyclegan_settings *given = settings ? settings : &standard;
        check_settings(given);
        *translator = register_translator(std::make_unique<Translator>(path, *given));
    });
}

void cyclegan_close(cyclegan_translator **translator) {
    if (!translator || reinterpret_cast<uintptr_t>(translator) % alignof(void *)) return;
    const NotCancelled whole_call;
    close_translator(*translator);
    *translator = nullptr;
}

cyclegan_status cyclegan_query(const cyclegan_translator *translator, cyclegan_info *info) {
    return guarded(translator, [&] {
        const Call call(translator);
        if (checked(info, "info").struct_size != sizeof *info)
            fail(CYCLEGAN_ERROR_ARGUMENT, "info: struct_size is %zu; expected %zu",
                 info->struct_size, sizeof *info);
        call->query(*info);
    });
}

cyclegan_status cyclegan_translate(cyclegan_translator *translator, const cyclegan_frame *source,
                                   const cyclegan_frame *target) {
    return guarded(translator, [&] {
        const Call call(translator);
        check_frame(source, "source");
        check_frame(target, "target");
        call->translate(*source, *target);
    });
}

cyclegan_status cyclegan_submit(cyclegan_translator *translator, const cyclegan_frame *source,
                                cyclegan_ticket *ticket) {
    return guarded(translator, [&] {
        checked(ticket, "ticket") = 0;
        const Call call(translator);
        check_frame(source, "source");
        *ticket = call->submit(*source);
    });
}

int cyclegan_done(cyclegan_translator *translator, cyclegan_ticket ticket) {
    bool done = false;
    const cyclegan_status status =
        guarded(translator, [&] { done = Call(translator)->done(ticket); });
    return status == CYCLEGAN_OK ? int{done} : int{status};
}

cyclegan_status cyclegan_wait(cyclegan_translator *translator, cyclegan_ticket ticket,
                              int64_t timeout_ms) {
    return guarded(translator, [&] { Call(translator)->wait(ticket, timeout_ms); });
}

cyclegan_status cyclegan_collect(cyclegan_translator *translator, cyclegan_ticket ticket,
                                 const cyclegan_frame *target) {
    return guarded(translator, [&] {
        const Call call(translator);
        check_frame(target, "target");
        call->collect(ticket, *target);
    });
}

cyclegan_status cyclegan_cancel(cyclegan_translator *translator, cyclegan_ticket ticket) {
    return guarded(translator, [&] { Call(translator)->cancel(ticket); });
}

cyclegan_status cyclegan_translate_device(cyclegan_translator *translator,
                                          const cyclegan_frame *source,
                                          const cyclegan_frame *target, void *stream) {
    return guarded(translator, [&] {
        const Call call(translator);
        check_frame(source, "source");
        check_frame(target, "target");
        call->translate_device(*source, *target, stream);
    });
}
