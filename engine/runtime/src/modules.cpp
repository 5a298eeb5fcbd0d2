// Backends' modules stand in the folder "cyclegan" beside the library itself.
#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "backend.h"
#include "build_info.h"
#include "error.h"

namespace cyclegan {
namespace {

using Open = decltype(&cyclegan_module_open);

struct Module {
    const char *name;   // as messages call it
    const char *file;   // in the folder of the modules
    const char *absent; // what to do about it
    Open open = nullptr;
};

// Where the process stood when it loaded this library, which a relative path is from: it may have
// gone elsewhere when it opens its first model.
char loaded_from[PATH_MAX];
[[gnu::constructor]] void note_folder() {
    if (!::getcwd(loaded_from, sizeof loaded_from)) std::strcpy(loaded_from, ".");
}

std::string beside(const std::string &library, const char *file) {
    return library.substr(0, library.rfind('/')) + "/cyclegan/" + file;
}

std::string module_path(const char *file) {
    Dl_info self;
    // Not of a function that others see: a program may have an address of its own for that.
    if (!::dladdr(loaded_from, &self) || !self.dli_fname)
        fail(CYCLEGAN_ERROR_INTERNAL, "cannot find the folder of this library");
    std::string path = self.dli_fname;
    if (path[0] != '/') path = std::string(loaded_from) + "/" + path;
    const std::string module = beside(path, file);
    char target[PATH_MAX];  // of a link that stands alone
    if (::access(module.c_str(), F_OK) == 0 || !::realpath(path.c_str(), target)) return module;
    const std::string of_target = beside(target, file);
    return ::access(of_target.c_str(), F_OK) == 0 ? of_target : module;
}

// Modules stay loaded: their libraries keep threads and thread-local data until the process ends.
Open load(const Module &module) {
    const std::string path = module_path(module.file);
    void *library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail(CYCLEGAN_ERROR_BACKEND,
             "the backend %s cannot be loaded: %s; keep the folder \"cyclegan\" beside this "
             "library, %s",
             module.name, ::dlerror(), module.absent);
    const auto version = reinterpret_cast<decltype(&cyclegan_module_version)>(
        ::dlsym(library, "cyclegan_module_version"));
    if (!version || std::strcmp(version(), kBuild) != 0)
        fail(CYCLEGAN_ERROR_VERSION, "%s is of version %s; this library is %s: install both anew",
             path.c_str(), version ? version() : "unknown", kBuild);
    return reinterpret_cast<Open>(::dlsym(library, "cyclegan_module_open"));
}

}  // namespace

Backend *open_backend(cyclegan_backend backend, const OpenRequest &request) {
    static std::mutex mutex;
    static Module modules[] = {
        {"openvino", "libcyclegan-openvino.so",
         "install OpenVINO, and build it with CYCLEGAN_OPENVINO=ON"},
        {"tensorrt", "libcyclegan-tensorrt.so", "and build it with CYCLEGAN_TENSORRT=ON"},
    };
    Module &module = modules[backend == CYCLEGAN_TENSORRT];
    {
        const std::lock_guard lock(mutex);
        if (!module.open) module.open = load(module);
    }
    return module.open(&request);
}

}  // namespace cyclegan
