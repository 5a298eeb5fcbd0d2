// A plan is TensorRT's; what it is stands in a note (JSON) beside it:
//
//     {"sha256": of the plan,
//      "key": {"format": 1, "flavour": "tensorrt", "version": "11.1.0.106",
//              "profile": "1x64x64,1x256x256,4x720x1280", "precision": "float16", ...},
//      "facts": {"graph": {the metadata of the graph}, ...}}
//
// A profile is three shapes, batch x height x width: the least, the one tuned for, the most.
#include <charconv>

#include "error.h"
#include "json.h"
#include "metadata.h"
#include "model_file.h"
#include "sha256.h"

namespace cyclegan {
namespace {

class Note {
  public:
    Note(const Model &model, std::string_view text) : model_(model) {
        try {
            json_ = parse_json(text);
        } catch (const std::invalid_argument &error) {
            damaged(error.what());
        }
    }

    [[noreturn]] void damaged(const std::string &why) const {
        fail(CYCLEGAN_ERROR_MODEL, "the note %s.json is damaged: %s; build the plan again",
             model_.name.c_str(), why.c_str());
    }

    std::string key(std::string_view name) const {
        if (const auto text = json_["key"][name].text()) return std::string(*text);
        damaged("key." + std::string(name) + " is no text");
    }

    const Json &json() const { return json_; }

  private:
    const Model &model_;
    Json json_;
};

// Batch, height and width from "4x720x1280"; false where it is none.
bool parse_shape(std::string_view text, int (&shape)[3]) {
    const char *at = text.data(), *end = at + text.size();
    for (int i = 0; i < 3; ++i) {
        if (i > 0 && (at == end || *at++ != 'x')) return false;
        const auto [next, error] = std::from_chars(at, end, shape[i]);
        if (error != std::errc() || shape[i] < 1) return false;
        at = next;
    }
    return at == end;
}

Sizes parse_profile(const Note &note, const std::string &text) {
    const size_t one = text.find(','), two = text.rfind(',');
    int least[3], most[3];
    if (one == text.npos || !parse_shape(text.substr(0, one), least) ||
        !parse_shape(text.substr(two + 1), most))
        note.damaged("key.profile is \"" + text.substr(0, 99) + "\"");
    if (least[0] != 1) note.damaged("the plan takes no batch of one frame");
    return {.least_width = least[2], .least_height = least[1],
            .most_width = most[2], .most_height = most[1]};
}

Metadata::Values graph_values(const Note &note) {
    Metadata::Values values;
    const auto *graph = std::get_if<Json::Object>(&note.json()["facts"]["graph"].value);
    if (!graph) note.damaged("facts.graph is missing");
    for (const auto &[name, value] : *graph)
        if (const auto text = value.text()) values.emplace(name, *text);
    return values;
}

}  // namespace

void describe_plan(Model &model, std::string_view text) {
    model.kind = Model::Kind::Plan;
    const Note note(model, text);
    const auto format = note.json()["key"]["format"].whole();
    if (!format || *format < 1) note.damaged("key.format is no number of at least 1");
    if (*format > kPlanFormat)
        fail(CYCLEGAN_ERROR_VERSION,
             "%s has plan format %d; this version reads up to %d; install a newer library",
             model.name.c_str(), *format, kPlanFormat);
    const auto digest = note.json()["sha256"].text();
    if (!digest) note.damaged("sha256 is missing");
    Sha256 sha;
    sha.add(model.bytes);
    check_digest(model, *digest, sha.hex());
    const Metadata::Values values = graph_values(note);
    describe(model, Metadata(model, values));
    model.flavour = note.key("flavour");
    model.version = note.key("version");
    model.precision = note.key("precision");
    model.sizes = parse_profile(note, note.key("profile"));
}

}  // namespace cyclegan
