// A program may unload the library while a frame is in flight: the backend stays, and calls back.
#include <cyclegan/cyclegan.h>
#include <dlfcn.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int kWidth = 64, kHeight = 48;
void *library;

template <class Function> Function *function(const char *name) {
    return reinterpret_cast<Function *>(dlsym(library, name));
}

}  // namespace

int main(int, char **arguments) {
    library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    std::vector<uint8_t> pixels(kWidth * kHeight * 3);
    cyclegan_frame frame{};
    frame.struct_size = sizeof frame;
    frame.width = kWidth, frame.height = kHeight;
    frame.data[0] = pixels.data(), frame.stride[0] = kWidth * 3;
    cyclegan_translator *translator;
    cyclegan_ticket ticket;
    const char *model = std::getenv("CYCLEGAN_TEST_MODEL");
    if (function<decltype(cyclegan_open)>("cyclegan_open")(&translator, model, nullptr) ||
        function<decltype(cyclegan_submit)>("cyclegan_submit")(translator, &frame, &ticket))
        return 1;
    dlclose(library);
    std::this_thread::sleep_for(std::chrono::seconds(1));  // more than the frame takes
    _exit(0);
}
