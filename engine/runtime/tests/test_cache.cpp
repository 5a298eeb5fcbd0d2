// One cache folder for all precisions: each gives the pixels that it gives without a cache.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "check.h"

namespace {

constexpr int kWidth = 64, kHeight = 48;
using Pixels = std::vector<uint8_t>;

int warnings = 0;

// Empty where the device does not compute in that precision.
Pixels translated(int precision, const char *cache_folder) {
    cyclegan_settings settings{};
    settings.struct_size = sizeof settings;
    settings.precision = precision;
    settings.cache_folder = cache_folder;
    settings.log = [](void *, cyclegan_log_level level, const char *text) {
        if (level == CYCLEGAN_LOG_WARNING && std::strstr(text, "set cache_folder")) ++warnings;
    };
    cyclegan_translator *translator = nullptr;
    const cyclegan_status status = cyclegan_open(&translator, test_model(), &settings);
    if (status == CYCLEGAN_ERROR_UNSUPPORTED) return {};
    CHECK(status == CYCLEGAN_OK);
    Pixels source(kWidth * kHeight * 3), result(source.size());
    fill(source.data(), source.size(), 7);
    const cyclegan_frame from = rgb_frame(source.data(), kWidth, kHeight);
    cyclegan_frame to = rgb_frame(result.data(), kWidth, kHeight);
    CHECK(cyclegan_translate(translator, &from, &to) == CYCLEGAN_OK);
    cyclegan_close(&translator);
    return result;
}

}  // namespace

int main() {
    char name[] = "/tmp/cyclegan-XXXXXX";
    const std::filesystem::path folder = mkdtemp(name);
    for (int round = 0; round < 2; ++round)  // filled, then read
        for (int precision : {CYCLEGAN_FLOAT16, CYCLEGAN_FLOAT32, CYCLEGAN_BFLOAT16})
            CHECK(translated(precision, folder.c_str()) == translated(precision, nullptr));
    CHECK(!std::filesystem::is_empty(folder));
    CHECK(warnings == 0);
    CHECK(translated(CYCLEGAN_FLOAT32, "/dev/null/folder") == translated(CYCLEGAN_FLOAT32, nullptr));
    CHECK(warnings == 1);
    std::filesystem::permissions(folder / "f32", std::filesystem::perms(0555));
    if (::getuid() == 0) CHECK(::setreuid(65534, 0) == 0);  // root may write anywhere
    CHECK(translated(CYCLEGAN_FLOAT32, folder.c_str()) == translated(CYCLEGAN_FLOAT32, nullptr));
    CHECK(warnings == 2);
    std::filesystem::permissions(folder / "f32", std::filesystem::perms(0755));
    std::filesystem::remove_all(folder);
    return 0;
}
