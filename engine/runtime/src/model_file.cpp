#include "model_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "error.h"

namespace cyclegan {
namespace {

// The path as a message can hold it: what tells files apart stands at its end.
std::string shown(const std::string &path) {
    constexpr size_t kLongest = 400;
    if (path.size() <= kLongest) return path;
    size_t begin = path.size() - kLongest;
    while (begin < path.size() && is_inside_character(path[begin])) ++begin;
    return "..." + path.substr(begin);
}

class File {
  public:
    explicit File(const std::string &path)
        // A FIFO would otherwise wait here for somebody to write to it.
        : descriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
        if (descriptor < 0)
            fail(CYCLEGAN_ERROR_FILE, "cannot read %s: %s", shown(path).c_str(),
                 std::strerror(errno));
    }
    ~File() { ::close(descriptor); }
    File(const File &) = delete;
    const int descriptor;
};

bool exists(const std::string &path) {
    struct stat status;
    return ::stat(path.c_str(), &status) == 0;
}

// Where the note on a plan stands: beside the file that a link leads to, or beside the link, as in
// stores that name files by their content.
std::string note_beside(const std::string &path) {
    char target[PATH_MAX];
    if (::realpath(path.c_str(), target))
        if (std::string behind = std::string(target) + ".json"; exists(behind)) return behind;
    return path + ".json";
}

}  // namespace

std::string read_file(const std::string &path, size_t limit) {
    const File file(path);
    struct stat status;
    if (::fstat(file.descriptor, &status) != 0)
        fail(CYCLEGAN_ERROR_FILE, "cannot read %s: %s", shown(path).c_str(), std::strerror(errno));
    if (!S_ISREG(status.st_mode))
        fail(CYCLEGAN_ERROR_FILE, "%s is %s; expected a regular file", shown(path).c_str(),
             S_ISDIR(status.st_mode) ? "a directory" : "a pipe, a socket or a device");
    if (static_cast<uint64_t>(status.st_size) >= limit)
        fail(CYCLEGAN_ERROR_MODEL, "%s has %lld bytes; expected fewer than %zu", shown(path).c_str(),
             static_cast<long long>(status.st_size), limit);
    std::string bytes(static_cast<size_t>(status.st_size), '\0');
    size_t got = 0;
    while (got < bytes.size()) {
        const ssize_t count = ::read(file.descriptor, bytes.data() + got, bytes.size() - got);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            fail(CYCLEGAN_ERROR_FILE, "cannot read %s: %s", shown(path).c_str(),
                 count < 0 ? std::strerror(errno) : "it became shorter meanwhile");
        got += static_cast<size_t>(count);
    }
    return bytes;
}

Model read_model(const std::string &path) {
    Model model;
    model.name = shown(path);
    model.bytes = read_file(path, kLargestModel);
    if (model.bytes.empty()) fail(CYCLEGAN_ERROR_MODEL, "%s is empty", model.name.c_str());
    const std::string note = note_beside(path);
    // ONNX is Protocol Buffers: the number of field 1, ir_version, comes first.
    if (model.bytes[0] == '\x08') {
        describe_graph(model);
    } else if (exists(note)) {
        describe_plan(model, read_file(note, kLargestNote));
    } else {
        fail(CYCLEGAN_ERROR_MODEL,
             "%s is no ONNX file, and no plan, which would have %s beside it; open what "
             "`cyclegan export` or `cyclegan build` wrote",
             model.name.c_str(), shown(note).c_str());
    }
    return model;
}

}  // namespace cyclegan
