// What a frame-to-frame graph says about itself, in an ONNX file or in the note on a plan.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "json.h"
#include "model_file.h"

namespace cyclegan {

// The metadata "cyclegan.<name>" of a model. All functions throw Error with MODEL for what is
// missing or damaged.
class Metadata {
  public:
    using Values = std::map<std::string, std::string, std::less<>>;
    Metadata(const Model &model, const Values &values) : model_(model), values_(values) {}

    std::optional<std::string> find(std::string_view name) const;
    std::string text(std::string_view name) const;
    int whole(std::string_view name, int most) const;  // at least 1
    Json json(std::string_view name) const;
    [[noreturn]] void damaged(std::string_view name, const char *why) const;

  private:
    const Model &model_;
    const Values &values_;
};

// Sets what the metadata tell. Throws Error with MODEL, VERSION or UNSUPPORTED.
void describe(Model &model, const Metadata &metadata);

// Throws Error with MODEL unless the digests are the same.
void check_digest(const Model &model, std::string_view expected, const std::string &got);

}  // namespace cyclegan
