#include "metadata.h"

#include "error.h"
#include "onnx_header.h"

namespace cyclegan {
namespace {

void set_domains(Model &model, const Metadata &metadata) {
    const Json domains = metadata.json("domains");
    const auto *names = domains.array();
    if (!names || names->size() != 2 || !(*names)[0].text() || !(*names)[1].text())
        metadata.damaged("domains", "are no two names");
    model.source = *(*names)[0].text();
    model.target = *(*names)[1].text();
}

void check_channels(const Model &model, const Json &config) {
    const int in = config["in_channels"].whole().value_or(0);
    const int out = config["out_channels"].whole().value_or(0);
    if (in == 3 && out == 3) return;
    fail(CYCLEGAN_ERROR_UNSUPPORTED,
         "%s translates pictures of %d channels into %d; this library takes 3 and 3",
         model.name.c_str(), in, out);
}

}  // namespace

std::optional<std::string> Metadata::find(std::string_view name) const {
    const auto found = values_.find(std::string("cyclegan.").append(name));
    if (found == values_.end()) return std::nullopt;
    return found->second;
}

std::string Metadata::text(std::string_view name) const {
    if (auto value = find(name)) return *std::move(value);
    damaged(name, "is missing");
}

int Metadata::whole(std::string_view name, int most) const {
    const auto value = json(name).whole();
    if (!value || *value < 1 || *value > most) damaged(name, "is no number in its range");
    return *value;
}

Json Metadata::json(std::string_view name) const {
    try {
        return parse_json(text(name));
    } catch (const std::invalid_argument &error) {
        damaged(name, error.what());
    }
}

void Metadata::damaged(std::string_view name, const char *why) const {
    fail(CYCLEGAN_ERROR_MODEL, "%s has damaged metadata: %.*s %s; make it again",
         model_.name.c_str(), static_cast<int>(name.size()), name.data(), why);
}

void describe(Model &model, const Metadata &metadata) {
    constexpr int kLargestMultiple = 4096;
    if (!metadata.find("format_version"))
        fail(CYCLEGAN_ERROR_MODEL,
             "%s holds no frame-to-frame graph: it lacks the metadata cyclegan.format_version; "
             "write it with `cyclegan export`",
             model.name.c_str());
    if (const int version = metadata.whole("format_version", 1 << 30); version > kGraphFormat)
        fail(CYCLEGAN_ERROR_VERSION,
             "%s has graph format %d; this version reads up to %d; install a newer library, or "
             "export it again with 8 bits a channel",
             model.name.c_str(), version, kGraphFormat);
    check_channels(model, metadata.json("config"));
    set_domains(model, metadata);
    model.size_multiple = metadata.whole("size_multiple", kLargestMultiple);
    model.precision = metadata.text("precision");
    model.weights_sha256 = metadata.text("weights_sha256");
}

void check_digest(const Model &model, std::string_view expected, const std::string &got) {
    if (expected == got) return;
    fail(CYCLEGAN_ERROR_MODEL,
         "%s is damaged: its SHA-256 is %s, and %.99s was written; make it again",
         model.name.c_str(), got.c_str(), std::string(expected).c_str());
}

void describe_graph(Model &model) {
    OnnxHeader header;
    try {
        header = read_onnx_header(model.bytes);
    } catch (const std::invalid_argument &error) {
        fail(CYCLEGAN_ERROR_MODEL, "%s is not an ONNX file, or is damaged: %s; export it again",
             model.name.c_str(), error.what());
    }
    const Metadata metadata(model, header.metadata);
    // Others are told below what they are. The backend would look for the file where the process is,
    // and neither a checksum nor its cache would tell a change.
    if (const auto &file = header.elsewhere; file && metadata.find("format_version"))
        fail(CYCLEGAN_ERROR_MODEL,
             "%s has weights in another file, '%.*s'; expected all in the one: export it again, "
             "which writes them there",
             model.name.c_str(), static_cast<int>(fitting(*file, 400)), file->c_str());
    if (const auto digest = header.metadata.find(kOnnxDigestKey); digest != header.metadata.end())
        check_digest(model, digest->second, header.digest);
    else
        model.warning = model.name + " has no checksum; export it again to have one";
    describe(model, metadata);
}

}  // namespace cyclegan
