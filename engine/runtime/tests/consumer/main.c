#include <cyclegan/cyclegan.h>
#include <stdio.h>

int main(int count, char **arguments) {
    cyclegan_translator *translator = NULL;
    cyclegan_info info = {.struct_size = sizeof info};
    if (count != 2) return 2;
    if (cyclegan_open(&translator, arguments[1], NULL) != CYCLEGAN_OK) {
        fprintf(stderr, "%s\n", cyclegan_last_error(NULL));
        return 1;
    }
    cyclegan_query(translator, &info);
    printf("%s to %s\n", info.source, info.target);
    cyclegan_close(&translator);
    return 0;
}
