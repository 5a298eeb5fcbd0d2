// What models say of themselves: taken as it is meant, and refused where it cannot be.
#include <map>
#include <string>

#include "check.h"
#include "error.h"
#include "model_file.h"
#include "plan_note.h"

namespace {

using namespace cyclegan;
using Values = std::map<std::string, std::string>;

const std::string kVersion = "\x08\x08", kGraph{"\x3a\x00", 2};  // fields of a ModelProto

std::string sized(char key, const std::string &content) {
    return std::string{key, static_cast<char>(content.size())} + content;
}

std::string onnx(const Values &values, const std::string &more = "") {
    std::string bytes = kVersion + kGraph + more;
    for (const auto &[name, value] : values)
        bytes += sized('\x72', sized('\x0a', "cyclegan." + name) + sized('\x12', value));
    return bytes;
}

const Values kUsual = {{"format_version", "1"},
                       {"size_multiple", "4"},
                       {"precision", "float32"},
                       {"weights_sha256", "abc"},
                       {"domains", R"(["phones", "cars"])"},
                       {"config", R"({"in_channels": 3, "out_channels": 3})"}};

Values usual_but(const char *name, const char *value) {
    Values values = kUsual;
    values[name] = value;
    return values;
}

Model described(const std::string &bytes) {
    Model model;
    model.name = "a model", model.bytes = bytes;
    describe_graph(model);
    return model;
}

template <class Describe>
void refused(Describe describe, cyclegan_status status, const char *words) {
    try {
        describe();
    } catch (const Error &error) {
        if (error.status == status && strstr(error.what(), words)) return;
        fprintf(stderr, "status %d: %s\n", error.status, error.what());
    }
    fprintf(stderr, "expected status %d and \"%s\"\n", status, words);
    abort();
}

void refused(const std::string &bytes, const char *words,
             cyclegan_status status = CYCLEGAN_ERROR_MODEL) {
    refused([&] { described(bytes); }, status, words);
}

void test_graphs() {
    const Model model = described(onnx(kUsual));
    CHECK(model.source == "phones" && model.target == "cars" && model.size_multiple == 4);
    CHECK(model.precision == "float32" && model.weights_sha256 == "abc");
    CHECK(described(onnx(usual_but("size_multiple", "4096"))).size_multiple == 4096);
    for (const char *bad : {"0", "-4", "4097", "4.5", "many", "3000000000", "\"4\""})
        refused(onnx(usual_but("size_multiple", bad)), "damaged metadata: size_multiple");
    for (const char *bad : {R"(["A"])", R"(["A", "B", "C"])", R"([1, "B"])", R"(["A", 2])", "{}"})
        refused(onnx(usual_but("domains", bad)), "damaged metadata: domains");
    refused(onnx(usual_but("config", R"({"in_channels": 3, "out_channels": 1})")),
            "3 channels into 1", CYCLEGAN_ERROR_UNSUPPORTED);
    refused(onnx(usual_but("config", "[]")), "0 channels into 0", CYCLEGAN_ERROR_UNSUPPORTED);
    refused(onnx(usual_but("format_version", "0")), "damaged metadata: format_version");
    for (const auto &[name, value] : kUsual) {
        Values values = kUsual;
        values.erase(name);
        refused(onnx(values), name.c_str());
    }
}

// Fields that others may have put in are passed over, whatever their kind.
void test_fields() {
    const std::string eight = "\x09" + std::string(8, '\xff');
    const std::string four = "\x0d" + std::string(4, '\xff');
    const std::string longest = "\x10" + std::string(9, '\xff') + "\x01";
    CHECK(described(onnx(kUsual, eight + four + longest)).size_multiple == 4);
    refused(onnx(kUsual, "\x10" + std::string(10, '\xff') + "\x01"), "a number is too long");
    for (const char *group : {"\x0b", "\x0c", "\x0e"})  // of an age ago, and a kind that is none
        refused(onnx(kUsual, std::string(group) + "\x10\x01\x10\x01"), "unknown wire type");
    refused(kGraph, "it has no graph");
    refused(kVersion, "it has no graph");
}

// However deep: OpenVINO would look for the file where the process is, and not beside the model.
void test_weights_in_another_file() {
    const auto weight = [](const std::string &key, const std::string &value) {
        return sized('\x6a', sized('\x0a', key) + sized('\x12', value));
    };
    const std::string other = weight("offset", "0") + weight("location", "w.bin");
    const auto node = [](char kind, const std::string &value) {
        return sized('\x0a', sized('\x2a', sized(kind, value)));
    };
    const auto holding = [](const std::string &graph) { return onnx(kUsual, sized('\x3a', graph)); };
    const std::string refusal = "a model has weights in another file, 'w.bin'; expected all in";
    refused(holding(sized('\x2a', "") + sized('\x2a', other)), refusal.c_str());
    for (const char one_or_more : {'\x2a', '\x52'})
        refused(holding(node(one_or_more, other)), refusal.c_str());
    for (const char one_or_more : {'\x32', '\x5a'})
        for (const auto &inner : {sized('\x2a', other), node('\x2a', other)})
            refused(holding(node(one_or_more, inner)), refusal.c_str());
    refused(holding(sized('\x2a', weight("offset", "0"))), "in another file, ''");
    // A text is no weight, and a graph of others is told that it is one.
    CHECK(described(holding(node('\x22', "location"))).size_multiple == 4);
    refused(onnx({}, sized('\x3a', sized('\x2a', other))), "holds no frame-to-frame graph");
}

void test_plans() {
    const std::string plan = "ftrt and more";
    const auto described_by = [&](const std::string &note) {
        Model model;
        model.name = "a.plan", model.bytes = plan;
        describe_plan(model, note);
        return model;
    };
    const auto changed = [&](const char *from, const char *to) {
        std::string note = note_on(plan, "1x8x16,1x64x64,2x720x1280");
        return note.replace(note.find(from), strlen(from), to);
    };
    const Model model =
        described_by(changed("\"precision\": \"float16\"", "\"precision\": \"mixed\""));
    CHECK(model.sizes.least_width == 16 && model.sizes.least_height == 8);
    CHECK(model.sizes.most_width == 1280 && model.sizes.most_height == 720);
    CHECK(model.precision == "mixed" && model.flavour == "tensorrt" && model.version == "11.1");
    const auto refuse = [&](const char *from, const char *to, const char *words) {
        refused([&] { described_by(changed(from, to)); }, CYCLEGAN_ERROR_MODEL, words);
    };
    for (const char *bad :
         {"0x8x8", "1x0x8", "1x8x-8", "1-8-8", "1x99999999999x8", "1xx8", "1x8", ""})
        refuse("1x8x16", bad, "key.profile is");
    refuse("\"format\": 1", "\"format\": 0", "key.format");
    refuse("\"sha256\"", "\"sha\"", "sha256 is missing");
    refuse("\"facts\"", "\"fact\"", "facts.graph is missing");
    refuse("\"flavour\"", "\"flavor\"", "key.flavour is no text");
}

}  // namespace

int main() {
    test_graphs();
    test_fields();
    test_weights_in_another_file();
    test_plans();
}
