// Every allocation of this library on the calling thread fails in turn: each call reports it, loses
// nothing, and works once there is memory again. OpenVINO's own are spared, for some end the process
// when they throw, in constructors that promised not to; test_limit starves it as a system would.
#include <execinfo.h>
#include <link.h>

#include <array>
#include <new>
#include <vector>

#include "check.h"

namespace {
thread_local long left = -1;  // allocations that succeed before one fails; -1: all do
thread_local bool failed = false;

// Where the code of this library and its backend lies, and that of the standard library.
struct Code {
    uintptr_t begin, end;
    bool ours;
};
std::array<Code, 16> codes;
size_t code_count = 0;

int note_code(dl_phdr_info *info, size_t, void *) {
    const bool ours = strstr(info->dlpi_name, "libcyclegan");
    if (!ours && !strstr(info->dlpi_name, "libstdc++")) return 0;
    for (int i = 0; i < info->dlpi_phnum && code_count < codes.size(); ++i) {
        const auto &part = info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD && part.p_flags & PF_X)
            codes[code_count++] = {begin, begin + part.p_memsz, ours};
    }
    return 0;
}

const Code *code_at(void *address) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    for (size_t i = 0; i < code_count; ++i)
        if (at >= codes[i].begin && at < codes[i].end) return &codes[i];
    return nullptr;
}

// Whether this library asks for memory, itself or through the standard library.
bool is_ours(void *caller) {
    const Code *code = code_at(caller);
    if (!code || code->ours) return code;
    void *callers[12];
    const int count = backtrace(callers, 12);
    bool after = false;
    for (int i = 0; i < count; ++i) {
        after |= callers[i] == caller;
        code = code_at(callers[i]);
        if (after && (!code || code->ours)) return code;
    }
    return false;
}

void *allocate(std::size_t size, void *caller) {
    if (left >= 0 && is_ours(caller) && left-- == 0) {
        failed = true;
        throw std::bad_alloc();
    }
    if (void *memory = std::malloc(size ? size : 1)) return memory;
    throw std::bad_alloc();
}
}  // namespace

void *operator new(std::size_t size) { return allocate(size, __builtin_return_address(0)); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

namespace {

cyclegan_translator *translator = nullptr;

// How often `call` failed before it had the memory that it needs.
template <class Call> int starve(Call call) {
    int failures = 0;
    for (long allowed = 0;; ++allowed) {
        left = allowed, failed = false;
        const cyclegan_status status = call();
        left = -1;
        if (!failed) {
            CHECK(status == CYCLEGAN_OK);
            return failures;
        }
        CHECK(status == CYCLEGAN_ERROR_MEMORY);
        CHECK(strstr(cyclegan_last_error(translator), "out of memory"));
        ++failures;
    }
}

}  // namespace

int main() {
    const auto open = [&] {
        cyclegan_close(&translator);
        const cyclegan_status status = cyclegan_open(&translator, test_model(), nullptr);
        CHECK((status == CYCLEGAN_OK) == (translator != nullptr));
        return status;
    };
    CHECK(open() == CYCLEGAN_OK);  // loads the libraries, whose own start is not meant here
    dl_iterate_phdr(note_code, nullptr);
    const int failures = starve(open);
    printf("opening fails in %d places\n", failures);
    CHECK(failures > 10);
    std::vector<uint8_t> pixels(3 * 48 * 48), wanted;
    const auto translate = [&] {
        fill(pixels.data(), pixels.size(), 3);
        const cyclegan_frame frame = rgb_frame(pixels.data(), 48, 48);
        return cyclegan_translate(translator, &frame, &frame);
    };
    CHECK(translate() == CYCLEGAN_OK);
    wanted = pixels;
    starve(translate);
    CHECK(pixels == wanted);  // and most calls have all the memory that they need from the start
    cyclegan_close(&translator);
}
