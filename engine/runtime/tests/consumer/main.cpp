#include <cyclegan/cyclegan.hpp>
#include <iostream>

int main(int count, char **arguments) {
    if (count != 2) return 2;
    try {
        const cyclegan_info info = cyclegan::Translator(arguments[1]).info();
        std::cout << info.source << " to " << info.target << "\n";
    } catch (const cyclegan::Error &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
