/* The loop of a live application: newest frame first, and never wait for the network.
 *
 *     ffmpeg -i camera -f rawvideo -pix_fmt rgb24 - | live_loop model.onnx WIDTH HEIGHT FPS | player
 *
 * Put your camera into capture() and your window into show(); these read and write raw RGB. A frame
 * that comes while all slots are taken is dropped: what is shown is late by one translation, never
 * by a growing queue. With FPS 0 no frame is dropped: each waits for the last. */
#define _POSIX_C_SOURCE 200112L
#include <cyclegan/cyclegan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static cyclegan_translator *translator;

static void check(cyclegan_status status) {
    if (status == CYCLEGAN_OK) return;
    fprintf(stderr, "live_loop: %s\n", cyclegan_last_error(translator));
    exit(1);
}

static int capture(uint8_t *pixels, size_t size) { return fread(pixels, 1, size, stdin) == size; }
static void show(const uint8_t *pixels, size_t size) { fwrite(pixels, 1, size, stdout); }

static void sleep_for(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

int main(int count, char **arguments) {
    if (count != 5) {
        fputs("usage: live_loop MODEL WIDTH HEIGHT FPS\n", stderr);
        return 2;
    }
    const int width = atoi(arguments[2]), height = atoi(arguments[3]);
    const double fps = atof(arguments[4]);
    const size_t size = (size_t)width * height * 3;
    uint8_t *camera = malloc(size), *window = malloc(size);
    if (width < 1 || height < 1 || !camera || !window) {
        fputs("live_loop: no such size\n", stderr);
        return 2;
    }
    const cyclegan_frame source = {.struct_size = sizeof source, .width = width, .height = height,
                                   .data = {camera, NULL}, .stride = {(size_t)width * 3, 0}};
    cyclegan_frame target = source;
    target.data[0] = window;
    cyclegan_settings settings;
    check(cyclegan_default_settings(&settings, sizeof settings));
    settings.width = width, settings.height = height;
    settings.slots = 1; /* latency, not throughput */
    check(cyclegan_open(&translator, arguments[1], &settings));

    int shown = 0, dropped = 0;
    cyclegan_ticket ticket = 0;
    for (int more = 1; more || ticket;) {
        if (ticket && (!more || fps <= 0 || cyclegan_done(translator, ticket) == 1)) {
            check(cyclegan_collect(translator, ticket, &target));
            ticket = 0;
            show(window, size);
            ++shown;
        }
        more = more && capture(camera, size);
        if (!more) continue;
        if (ticket) ++dropped;
        else check(cyclegan_submit(translator, &source, &ticket));
        if (fps > 0) sleep_for(1 / fps);
    }
    cyclegan_close(&translator);
    fprintf(stderr, "%d shown, %d dropped\n", shown, dropped);
    free(camera);
    free(window);
    return fflush(stdout) || ferror(stdout);
}
