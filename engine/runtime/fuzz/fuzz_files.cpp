// Everything that reads a file's bytes, for libFuzzer or for mutate.cpp: whatever the bytes are, an
// Error or a model comes out. The first byte chooses the reader.
#include <cstdint>
#include <string>
#include <string_view>

#include "error.h"
#include "json.h"
#include "model_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    using namespace cyclegan;
    if (size == 0) return 0;
    Model model;
    const std::string_view bytes(reinterpret_cast<const char *>(data + 1), size - 1);
    try {
        switch (data[0] % 3) {
            case 0:
                model.bytes = bytes;
                describe_graph(model);
                break;
            case 1: describe_plan(model, bytes); break;
            default: parse_json(bytes);
        }
    } catch (const Error &) {
    } catch (const std::invalid_argument &) {
        if (data[0] % 3 != 2) throw;  // parse_json's own
    }
    return 0;
}
