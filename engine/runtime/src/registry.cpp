#include "registry.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

#include "error.h"
#include "text.h"

namespace cyclegan {

struct Entry {
    // A process that fork() made has the handles of the first, but none of the backend's threads.
    bool is_of_this_process() const { return process == ::getpid(); }

    std::unique_ptr<Translator> translator;
    const pid_t process = ::getpid();
    int calls = 0;
    bool closing = false;  // it stays registered until its translator has ended
    char error[1024] = "";
};

namespace {

struct Registry {
    std::mutex mutex;
    std::condition_variable left;
    std::map<uintptr_t, std::shared_ptr<Entry>> entries;
    uintptr_t last = 0;
    bool exiting = false;

    std::shared_ptr<Entry> find(const cyclegan_translator *handle) const {
        const auto found = entries.find(reinterpret_cast<uintptr_t>(handle));
        return found == entries.end() ? nullptr : found->second;
    }
};

// Never destroyed: threads may still call while the process ends. Needs no memory that may lack.
Registry &registry() {
    alignas(Registry) static unsigned char room[sizeof(Registry)];
    static Registry &registry = *new (room) Registry;
    return registry;
}

// A process that fork() makes has none of the other threads: one that held the mutex would never
// release it there, and the condition would wait for those that waited.
[[maybe_unused]] const int prepared = ::pthread_atfork(
    [] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
    [] {
        new (&registry().left) std::condition_variable;
        registry().mutex.unlock();
    });

// At exit() with frames in flight: libraries of the backend would be taken apart under its threads
// that still work, and the process crash.
void drain_all() {
    std::unique_lock lock(registry().mutex);
    registry().exiting = true;
    for (const auto &[handle, entry] : registry().entries) {
        if (!entry->is_of_this_process() || entry->closing) continue;
        entry->translator->close();
        entry->translator->drain();
    }
    registry().left.wait(lock, [] {
        return std::none_of(registry().entries.begin(), registry().entries.end(), [](auto &held) {
            return held.second->closing && held.second->is_of_this_process();
        });
    });
}

thread_local char thread_error[1024] = "";
// Of this thread's last failure on a handle: others there leave it, so that it fits its status.
thread_local const cyclegan_translator *own_handle = nullptr;
thread_local char own_error[1024] = "";
thread_local char returned[1024] = "";

}  // namespace

void drain_at_exit() { [[maybe_unused]] static const int done = std::atexit(drain_all); }

Call::Call(const cyclegan_translator *handle) {
    const std::lock_guard lock(registry().mutex);
    entry_ = registry().find(handle);
    if (!handle) fail(CYCLEGAN_ERROR_ARGUMENT, "the translator is NULL");
    if (!entry_ || entry_->closing)
        fail(CYCLEGAN_ERROR_HANDLE, "the translator was closed, or never opened");
    if (!entry_->is_of_this_process())
        fail(CYCLEGAN_ERROR_HANDLE,
             "the translator was opened by process %d, from which this one was forked; open the "
             "model here",
             static_cast<int>(entry_->process));
    ++entry_->calls;
}

Call::~Call() {
    const std::lock_guard lock(registry().mutex);
    if (--entry_->calls == 0) registry().left.notify_all();
}

Translator &Call::operator*() const { return *entry_->translator; }

cyclegan_translator *register_translator(std::unique_ptr<Translator> translator) {
    auto entry = std::make_shared<Entry>();
    entry->translator = std::move(translator);
    const std::lock_guard lock(registry().mutex);
    const uintptr_t number = registry().last + 1;
    registry().entries.emplace(number, std::move(entry));
    registry().last = number;
    return reinterpret_cast<cyclegan_translator *>(number);
}

void close_translator(const cyclegan_translator *handle) noexcept {
    std::unique_lock lock(registry().mutex);
    const auto number = reinterpret_cast<uintptr_t>(handle);
    const auto entry = registry().find(handle);
    if (!entry) return;
    if (!entry->is_of_this_process()) {
        registry().entries.erase(number);
        (void)entry->translator.release();  // to end it would wait for threads that are not here
        return;
    }
    if (entry->closing) {
        registry().left.wait(lock, [=] { return !registry().find(handle); });
        return;
    }
    if (registry().exiting) return;  // libraries that its end needs may be gone
    entry->closing = true;
    entry->translator->close();
    registry().left.wait(lock, [&] { return entry->calls == 0; });
    lock.unlock();
    entry->translator.reset();
    lock.lock();
    registry().entries.erase(number);
    registry().left.notify_all();
}

void set_error(const cyclegan_translator *handle, const char *message) noexcept {
    if (handle) {
        own_handle = handle;
        copy_text(own_error, sizeof own_error, message);
    }
    const std::lock_guard lock(registry().mutex);
    const auto entry = registry().find(handle);
    copy_text(entry ? entry->error : thread_error, sizeof thread_error, message);
}

const char *last_error(const cyclegan_translator *handle) noexcept {
    const std::lock_guard lock(registry().mutex);
    const auto entry = registry().find(handle);
    const bool is_own = handle && handle == own_handle;
    copy_text(returned, sizeof returned, is_own ? own_error : entry ? entry->error : thread_error);
    return returned;
}

}  // namespace cyclegan
