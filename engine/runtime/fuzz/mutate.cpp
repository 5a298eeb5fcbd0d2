// Runs a fuzz target on damaged copies of seed files where the compiler brings no libFuzzer:
//
//     mutate ROUNDS SEED_FILE...
//
// Random, but the same every time. Large seeds are cut to where headers and metadata stand.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace {

std::mt19937 random_bits(1);

size_t below(size_t limit) { return random_bits() % (limit ? limit : 1); }

void damage(std::string &bytes) {
    const size_t at = below(bytes.size() + 1), count = below(16);
    switch (below(5)) {
        case 0: bytes.erase(at, count); break;
        case 1: bytes.insert(at, count, static_cast<char>(random_bits())); break;
        case 2: bytes.resize(at); break;
        case 3: bytes.insert(at, bytes.substr(below(bytes.size()), 4 * count)); break;
        default:
            if (at < bytes.size()) bytes[at] = static_cast<char>(random_bits());
    }
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 3) return std::fputs("mutate ROUNDS SEED_FILE...\n", stderr), 2;
    std::vector<std::string> seeds;
    for (int i = 2; i < count; ++i) {
        std::ifstream file(arguments[i], std::ios::binary);
        seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    const long rounds = std::atol(arguments[1]);
    for (long round = 0; round < rounds; ++round) {
        std::string bytes = seeds[below(seeds.size())];
        for (size_t i = below(8); i > 0; --i) damage(bytes);
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
    }
    std::printf("%ld rounds on %zu seeds\n", rounds, seeds.size());
}
