// Model files of every bad kind: refused with the reason.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "check.h"
#include "plan_note.h"

namespace {

std::filesystem::path folder;
std::string model;

void refused(const std::string &path, cyclegan_status status, const char *words) {
    auto *translator = reinterpret_cast<cyclegan_translator *>(&model);
    const cyclegan_status got = cyclegan_open(&translator, path.c_str(), nullptr);
    if (got == status && strstr(cyclegan_last_error(nullptr), words) && !translator) return;
    fprintf(stderr, "%.99s: status %d, expected %d and \"%s\" in \"%s\"\n", path.c_str(), got, status,
            words, cyclegan_last_error(nullptr));
    abort();
}

std::string written(const char *name, const std::string &bytes) {
    const auto path = folder / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
}

std::string replaced(const std::string &from, const std::string &to) {
    std::string bytes = model;
    const size_t at = bytes.rfind(from);
    CHECK(at != bytes.npos && from.size() == to.size());
    return bytes.replace(at, from.size(), to);
}

void test_no_regular_files() {
    refused(folder / "missing.onnx", CYCLEGAN_ERROR_FILE, "No such file");
    refused(folder, CYCLEGAN_ERROR_FILE, "is a directory");
    refused("", CYCLEGAN_ERROR_FILE, "No such file");
    refused(std::string(100000, 'x'), CYCLEGAN_ERROR_FILE, "too long");
    std::string accents;
    for (int i = 0; i < 300; ++i) accents += "\u00e9";
    refused(accents + "x", CYCLEGAN_ERROR_FILE, "cannot read ...\u00e9");
    const std::string fifo = folder / "fifo.onnx";
    CHECK(mkfifo(fifo.c_str(), 0600) == 0);
    refused(fifo, CYCLEGAN_ERROR_FILE, "is a pipe");
    refused("/dev/zero", CYCLEGAN_ERROR_FILE, "a device");
    refused(fifo + "/deeper", CYCLEGAN_ERROR_FILE, "Not a directory");
    const std::string circle = folder / "circle.onnx";
    CHECK(symlink(circle.c_str(), circle.c_str()) == 0);
    refused(circle, CYCLEGAN_ERROR_FILE, "symbolic links");
}

void test_sizes() {
    refused(written("empty.onnx", ""), CYCLEGAN_ERROR_MODEL, "is empty");
    const std::string huge = written("huge.onnx", model);
    CHECK(truncate(huge.c_str(), off_t{3} << 30) == 0);
    refused(huge, CYCLEGAN_ERROR_MODEL, "expected fewer than");
}

void test_damage() {
    for (size_t part = 1; part < 32; ++part)
        refused(written("cut.onnx", model.substr(0, model.size() * part / 32)),
                CYCLEGAN_ERROR_MODEL, "damaged");
    refused(written("cut.onnx", model.substr(0, model.size() - 1)), CYCLEGAN_ERROR_MODEL,
            "in the middle of a field");
    for (size_t part = 1; part < 8; ++part) {
        std::string bytes = model;
        bytes[bytes.size() / 16 * part] ^= 0x10;
        refused(written("flipped.onnx", bytes), CYCLEGAN_ERROR_MODEL, "its SHA-256 is");
    }
}

void test_foreign_files() {
    refused(written("text.onnx", "Dear network,"), CYCLEGAN_ERROR_MODEL, "is no ONNX file");
    refused(written("other.onnx", std::string("\x08\x08\x3a\x00", 4)), CYCLEGAN_ERROR_MODEL,
            "holds no frame-to-frame graph");
    std::string newer = replaced("cyclegan.graph_sha256", "somebody.graph_sha256");
    const size_t at = newer.rfind("format_version");
    CHECK(at != newer.npos && newer[at + 16] == '1');
    newer[at + 16] = '9';
    refused(written("newer.onnx", newer), CYCLEGAN_ERROR_VERSION, "graph format 9");
    const std::string config = "\"in_channels\": 3";
    std::string grey = replaced("cyclegan.graph_sha256", "somebody.graph_sha256");
    grey[grey.rfind(config) + config.size() - 1] = '1';
    refused(written("grey.onnx", grey), CYCLEGAN_ERROR_UNSUPPORTED, "of 1 channels into 3");
}

void test_plans() {
    const std::string plan = "ftrt and more";
    const std::string path = written("a.plan", plan), note = note_on(plan, "1x8x8,1x64x64,2x64x64");
    refused(path, CYCLEGAN_ERROR_MODEL, "a.plan.json beside it");
    const auto with_note = [&](const std::string &text, cyclegan_status status, const char *words) {
        written("a.plan.json", text);
        refused(path, status, words);
    };
    with_note("", CYCLEGAN_ERROR_MODEL, "no JSON at byte 0");
    with_note("{}", CYCLEGAN_ERROR_MODEL, "key.format");
    with_note(note_on(plan + "!", "1x8x8,1x64x64,2x64x64"), CYCLEGAN_ERROR_MODEL, "its SHA-256 is");
    with_note(note_on(plan, "1x8x8"), CYCLEGAN_ERROR_MODEL, "key.profile is");
    with_note(note_on(plan, "1x8x8,1x8x8,1x8x8x"), CYCLEGAN_ERROR_MODEL, "key.profile is");
    with_note(note_on(plan, "2x8x8,2x8x8,2x8x8"), CYCLEGAN_ERROR_MODEL, "no batch of one");
    std::string newer = note;
    newer.replace(newer.find("\"format\": 1"), 11, "\"format\": 2");
    with_note(newer, CYCLEGAN_ERROR_VERSION, "plan format 2");
    with_note(std::string(2 << 20, ' '), CYCLEGAN_ERROR_MODEL, "expected fewer than");
    std::filesystem::remove(path + ".json");
    CHECK(mkfifo((path + ".json").c_str(), 0600) == 0);
    refused(path, CYCLEGAN_ERROR_FILE, "a.plan.json is a pipe");
    std::filesystem::remove(path + ".json");
    // The note is right; a machine without TensorRT says so.
    with_note(note, CYCLEGAN_ERROR_BACKEND, "tensorrt");
    const std::string link = folder / "link.plan";
    CHECK(symlink(path.c_str(), link.c_str()) == 0);
    refused(link, CYCLEGAN_ERROR_BACKEND, "tensorrt");
    written("link.plan.json", "{}");  // of another plan: the note beside the file itself counts
    refused(link, CYCLEGAN_ERROR_BACKEND, "tensorrt");
    std::filesystem::rename(path + ".json", link + ".json");
    refused(link, CYCLEGAN_ERROR_BACKEND, "tensorrt");
}

void log_warning(void *user, cyclegan_log_level level, const char *message) {
    if (level == CYCLEGAN_LOG_WARNING && strstr(message, "no checksum")) *static_cast<int *>(user) = 1;
}

void test_no_checksum_is_a_warning() {
    const std::string path =
        written("old.onnx", replaced("cyclegan.graph_sha256", "somebody.graph_sha256"));
    int warned = 0;
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    settings.log = log_warning, settings.log_user = &warned;
    cyclegan_translator *translator = nullptr;
    CHECK(cyclegan_open(&translator, path.c_str(), &settings) == CYCLEGAN_OK);
    cyclegan_close(&translator);
    CHECK(warned);
}

}  // namespace

int main() {
    char name[] = "/tmp/cyclegan-XXXXXX";
    CHECK(mkdtemp(name));
    folder = name;
    std::ifstream file(test_model(), std::ios::binary);
    model.assign(std::istreambuf_iterator<char>(file), {});
    CHECK(!model.empty());
    test_no_regular_files();
    test_sizes();
    test_damage();
    test_foreign_files();
    test_plans();
    test_no_checksum_is_a_warning();
    std::filesystem::remove_all(folder);
}
