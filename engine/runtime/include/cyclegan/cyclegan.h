/* cyclegan: a trained generator inside other people's programs.
 *
 *     cyclegan_translator *translator = NULL;
 *     if (cyclegan_open(&translator, "painter.onnx", NULL) != CYCLEGAN_OK)
 *         puts(cyclegan_last_error(NULL));
 *     cyclegan_translate(translator, &photo, &painting);
 *     cyclegan_close(&translator);
 *
 * Rules that hold everywhere
 *
 * Threads    Every function may be called from any thread at any time, also on one handle, but for
 *            two things: a log callback calls nothing of this library, and a frame's memory belongs
 *            to one call at a time. A thread that pthread_cancel cancels finishes its call first.
 * Processes  A handle is of the process that opened it: in one that was forked since, calls end with
 *            CYCLEGAN_ERROR_HANDLE, cyclegan_close frees nothing, and a model is opened anew; with
 *            OpenVINO not if one was closed before the fork, which is CYCLEGAN_ERROR_BACKEND.
 *            Fork while no other thread is in cyclegan_open, if the child is to open models.
 *            exit() waits for frames in flight, and for threads that close, once the first frame
 *            of the process is done; before, close what is open. What is closed after that is
 *            freed by the end of the process. dlclose() closes nothing, and the library stays in
 *            the process.
 * Ownership  The library keeps no pointer of the caller's once a call has returned, except the log
 *            callback and its user data, until cyclegan_close returns. Strings that it returns are
 *            its own; each function says how long they stay.
 * Structs    The caller sets struct_size to sizeof of the struct and everything else that it does
 *            not use to zero. What a later version adds comes out of the reserved room.
 * Errors     A call that fails changes nothing that the caller handed over, unless it says so, and
 *            leaves a sentence for cyclegan_last_error. NULL, a closed handle and a ticket that was
 *            collected are errors like others. No exception comes out of any function.
 * Models     A model is trusted code: a damaged one is refused, one that was written to do harm may
 *            not be. Open only what you or your users chose.
 */
#ifndef CYCLEGAN_CYCLEGAN_H
#define CYCLEGAN_CYCLEGAN_H

#include <stddef.h>
#include <stdint.h>

#define CYCLEGAN_VERSION_MAJOR 0
#define CYCLEGAN_VERSION_MINOR 1
#define CYCLEGAN_VERSION_PATCH 0

#if defined(_WIN32)
#define CYCLEGAN_API
#else
#define CYCLEGAN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A generator, loaded into a backend. A handle is never used again once it was closed. */
typedef struct cyclegan_translator cyclegan_translator;

/* A frame in flight, from cyclegan_submit to cyclegan_collect or cyclegan_cancel. Never zero. */
typedef uint64_t cyclegan_ticket;

typedef enum cyclegan_status {
    CYCLEGAN_OK = 0,
    CYCLEGAN_ERROR_ARGUMENT = -1,    /* NULL, a wrong struct_size, stride, format or setting */
    CYCLEGAN_ERROR_HANDLE = -2,      /* the handle was closed, or never opened */
    CYCLEGAN_ERROR_TICKET = -3,      /* no frame in flight has this ticket */
    CYCLEGAN_ERROR_MEMORY = -4,      /* out of memory; of a frame, see cyclegan_translate */
    CYCLEGAN_ERROR_FILE = -5,        /* a file is missing, unreadable, or no regular file */
    CYCLEGAN_ERROR_MODEL = -6,       /* a file is damaged, or is no model of ours */
    CYCLEGAN_ERROR_VERSION = -7,     /* a file or library is of a version that does not fit */
    CYCLEGAN_ERROR_SIZE = -8,        /* a frame size that this translator does not take */
    CYCLEGAN_ERROR_BACKEND = -9,     /* a backend is missing, or failed */
    CYCLEGAN_ERROR_UNSUPPORTED = -10, /* this backend or model cannot do it */
    CYCLEGAN_ERROR_BUSY = -11,       /* every slot holds a frame: collect one first */
    CYCLEGAN_ERROR_TIMEOUT = -12,    /* the frame is not done yet */
    CYCLEGAN_ERROR_INTERNAL = -13    /* a fault of this library */
} cyclegan_status;

/* Bytes in memory order. NV12, NV16 and NV24: a plane of luma, then one of interleaved Cb and Cr,
 * each of which counts for 2x2 pixels, for 2x1 (two of a row), or for one; odd sizes round up. */
typedef enum cyclegan_format {
    CYCLEGAN_RGB8 = 0,
    CYCLEGAN_BGR8 = 1,
    CYCLEGAN_RGBA8 = 2, /* alpha is not read; it is written as 255 */
    CYCLEGAN_NV12 = 3,  /* 4:2:0 */
    CYCLEGAN_NV16 = 4,  /* 4:2:2 */
    CYCLEGAN_NV24 = 5   /* 4:4:4 */
} cyclegan_format;

/* Of luma and chroma: ITU-R BT.601, BT.709, BT.2020 with non-constant luminance. */
typedef enum cyclegan_matrix {
    CYCLEGAN_BT601 = 0,
    CYCLEGAN_BT709 = 1,
    CYCLEGAN_BT2020 = 2
} cyclegan_matrix;

typedef enum cyclegan_backend {
    CYCLEGAN_AUTO = 0, /* the one that runs this kind of model file */
    CYCLEGAN_OPENVINO = 1,
    CYCLEGAN_TENSORRT = 2
} cyclegan_backend;

/* CYCLEGAN_FASTEST: 16 bits where the device computes faster in them, else float32. A plan has its
 * precision built in, and takes this alone. */
typedef enum cyclegan_precision {
    CYCLEGAN_FASTEST = 0,
    CYCLEGAN_FLOAT32 = 1,
    CYCLEGAN_BFLOAT16 = 2,
    CYCLEGAN_FLOAT16 = 3
} cyclegan_precision;

typedef enum cyclegan_log_level {
    CYCLEGAN_LOG_ERROR = 0,
    CYCLEGAN_LOG_WARNING = 1,
    CYCLEGAN_LOG_INFO = 2
} cyclegan_log_level;

/* Called with a sentence that stays for the time of the call, on a thread that is inside a function
 * of this library, on several at once if several are. */
typedef void (*cyclegan_log)(void *user, cyclegan_log_level level, const char *message);

typedef struct cyclegan_settings {
    size_t struct_size;
    int32_t backend;   /* cyclegan_backend */
    int32_t precision; /* cyclegan_precision */
    int32_t width;     /* of every frame, where known: the backend then prepares for that size */
    int32_t height;    /* alone, and refuses those that are padded to another; 0 and 0: any size */
    int32_t slots;     /* frames in flight, 1 to 16; 0: what keeps the backend busy */
    int32_t threads;   /* of a CPU backend; 0: one a core */
    const char *device;       /* the backend's name of the device, as in "GPU.0"; NULL: its choice */
    const char *cache_folder; /* where OpenVINO keeps compiled models for a faster start; NULL: none.
                                 One that cannot be made or written is logged, and none are kept.
                                 What lies there is code, and OpenVINO does not look whether it is
                                 damaged: let nobody else write to it */
    cyclegan_log log;         /* NULL: silence */
    void *log_user;
    uintptr_t reserved[8];
} cyclegan_settings;

/* A picture in memory. For output frames the pointers are written to, for input frames never. */
typedef struct cyclegan_frame {
    size_t struct_size;
    int32_t width;      /* pixels, 1 to 16384 */
    int32_t height;     /* pixels, 1 to 16384 */
    int32_t format;     /* cyclegan_format */
    int32_t matrix;     /* cyclegan_matrix; for luma and chroma alone */
    int32_t full_range; /* 0: luma 16 to 235; 1: 0 to 255; likewise */
    int32_t reserved0;
    void *data[2];    /* the first row; data[1] and stride[1]: chroma */
    size_t stride[2]; /* bytes from one row to the next, at least a row's */
    uintptr_t reserved[4];
} cyclegan_frame;

/* What a translator is. */
typedef struct cyclegan_info {
    size_t struct_size;
    int32_t backend;       /* cyclegan_backend */
    int32_t slots;         /* frames that can be in flight */
    int32_t size_multiple; /* other sizes are reflected at the right and bottom, and cropped back */
    int32_t width;         /* the only size taken, or 0 and 0: any */
    int32_t height;
    uint32_t formats;   /* bit 1 << f is set for each cyclegan_format f that can be translated */
    char source[64];    /* domain that is translated from */
    char target[64];    /* and to */
    char precision[16]; /* that the device computes in, as in "bf16" */
    char description[128];
    char weights_sha256[65];
    char padding[7];
    uintptr_t reserved[8];
} cyclegan_info;

/* The version of the library that runs, as (major << 16) | (minor << 8) | patch. The macros above
 * are what the program was compiled with. */
CYCLEGAN_API uint32_t cyclegan_version(void);

/* A status in words. The string stays for ever; a number that is no status is "unknown status". */
CYCLEGAN_API const char *cyclegan_status_string(cyclegan_status status);

/* Why the last call that failed on `translator` did so: this thread's own, if its last failure on a
 * handle was there, also once the handle was closed; else that of whichever thread; "" if none did.
 * With NULL: why the last call of this thread failed that had no valid handle, such as cyclegan_open.
 * The string stays until this thread calls this function again. */
CYCLEGAN_API const char *cyclegan_last_error(const cyclegan_translator *translator);

/* Fill `settings`, `struct_size` = sizeof *settings bytes, with what NULL stands for in
 * cyclegan_open. */
CYCLEGAN_API cyclegan_status cyclegan_default_settings(cyclegan_settings *settings,
                                                       size_t struct_size);

/* Load a model: a frame-to-frame .onnx file as `cyclegan export` writes it (OpenVINO), or a .plan
 * file with its .json beside it as `cyclegan build` writes them (TensorRT). Checksums are verified.
 *
 * *translator is set to a handle that the caller closes, or to NULL when this fails. The path is
 * UTF-8, or what the file system has. Takes from parts of a second to some seconds.
 * Fails with ARGUMENT, MEMORY, FILE, MODEL, VERSION, SIZE, BACKEND, UNSUPPORTED. */
CYCLEGAN_API cyclegan_status cyclegan_open(cyclegan_translator **translator, const char *path,
                                           const cyclegan_settings *settings);

/* Wait for what the device works on, drop frames that were not collected, give all memory back and
 * set *translator to NULL. Calls that wait on other threads end with CYCLEGAN_ERROR_HANDLE, and
 * when this returns none is inside the handle any more, whichever of several threads that close
 * it returns. NULL, and NULL in *translator, are let pass, as with free. */
CYCLEGAN_API void cyclegan_close(cyclegan_translator **translator);

/* Fill `info`, whose struct_size is set. Fails with ARGUMENT, HANDLE. */
CYCLEGAN_API cyclegan_status cyclegan_query(const cyclegan_translator *translator,
                                            cyclegan_info *info);

/* Translate `source` into `target`, of the same size; formats may differ. Both may be the same
 * memory. Waits while the slots are taken by such calls of other threads. When this fails after
 * the arguments were checked, `target` may be partly written. After MEMORY, a translator for any
 * size may go on failing with OpenVINO: open it anew; one for a single size needs no more memory.
 * Fails with ARGUMENT, HANDLE, MEMORY, SIZE, BACKEND, and BUSY when all slots hold tickets. */
CYCLEGAN_API cyclegan_status cyclegan_translate(cyclegan_translator *translator,
                                                const cyclegan_frame *source,
                                                const cyclegan_frame *target);

/* Start to translate `source`, which may be overwritten once this returns. *ticket is what to
 * collect it with, or 0 when this fails. A slot is taken until the ticket is collected or
 * cancelled; this never waits for one. Frames are worked on in the order of submission.
 * Fails with ARGUMENT, HANDLE, MEMORY, SIZE, BACKEND, and BUSY when every slot is taken. */
CYCLEGAN_API cyclegan_status cyclegan_submit(cyclegan_translator *translator,
                                             const cyclegan_frame *source,
                                             cyclegan_ticket *ticket);

/* 1 if the frame can be collected without waiting, 0 if not yet, or HANDLE, TICKET (negative). */
CYCLEGAN_API int cyclegan_done(cyclegan_translator *translator, cyclegan_ticket ticket);

/* Wait until the frame can be collected, `timeout_ms` milliseconds at most, or, if that is
 * negative, for as long as it takes. Fails with HANDLE, TICKET, TIMEOUT. */
CYCLEGAN_API cyclegan_status cyclegan_wait(cyclegan_translator *translator, cyclegan_ticket ticket,
                                           int64_t timeout_ms);

/* Wait for the frame and write it into `target`, of the size that was submitted. The ticket is used
 * up, unless this fails with ARGUMENT or SIZE: then the frame can still be collected. Tickets may
 * be collected in any order. Fails with ARGUMENT, HANDLE, TICKET, SIZE, BACKEND. */
CYCLEGAN_API cyclegan_status cyclegan_collect(cyclegan_translator *translator,
                                              cyclegan_ticket ticket,
                                              const cyclegan_frame *target);

/* Drop the frame; the ticket is used up. Does not wait: the slot is free once the device is done.
 * Fails with HANDLE, TICKET. */
CYCLEGAN_API cyclegan_status cyclegan_cancel(cyclegan_translator *translator,
                                             cyclegan_ticket ticket);

/* Translate between device memory: data[0] of both frames are device pointers (TensorRT: CUDA), the
 * format is RGB8, and the size is one that the engine takes as it is. The work is ordered behind
 * what is in `stream` (TensorRT: a CUstream or cudaStream_t of the translator's device, not the
 * default stream) and this returns once it is enqueued: both frames belong to the call until the
 * stream has passed it. Both may be the same memory. Calls on one handle are enqueued one at a time;
 * the first of a larger size may wait for those before it.
 * Fails with ARGUMENT, HANDLE, MEMORY, SIZE, BACKEND, and UNSUPPORTED with OpenVINO. */
CYCLEGAN_API cyclegan_status cyclegan_translate_device(cyclegan_translator *translator,
                                                       const cyclegan_frame *source,
                                                       const cyclegan_frame *target,
                                                       void *stream);

#ifdef __cplusplus
}
#endif

#endif
