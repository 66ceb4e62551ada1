/* Errors and hooks: what every room shares.
 *
 * Enters: a caller-owned `struct lq_error` and, for long work, `struct lq_hooks`.
 * Leaves: a status (0 or negative) and one message, written where the cause is known.
 * Invariants: the library never prints, exits or aborts on anything that a file or a user can contain;
 * on failure outputs are untouched.
 *
 *     struct lq_error err = {0};
 *     struct lq_model *model = NULL;
 *     if (lq_model_open(&model, "llava-folder", NULL, &err) != LQ_OK)
 *         fprintf(stderr, "%s\n", err.message);
 */
#ifndef LLAVA_QUANTIZE_BASE_H
#define LLAVA_QUANTIZE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum lq_status {
    LQ_OK = 0,
    LQ_ERR_USAGE = -1,       /* the caller asked for something that makes no sense (exit 2) */
    LQ_ERR_IO = -2,          /* the operating system refused: open, read, write, rename, space */
    LQ_ERR_FORMAT = -3,      /* a file says something false or malformed */
    LQ_ERR_UNSUPPORTED = -4, /* well-formed, but outside what this program handles */
    LQ_ERR_MEMORY = -5,      /* an allocation failed or a size does not fit */
    LQ_ERR_CANCELLED = -6,   /* the cancel hook answered true */
    LQ_ERR_RUNTIME = -7,     /* llama.cpp refused to load, encode or decode */
};

/* One message: file, tensor, offset, found, expected, remedy. At most one prefix is added on the way up. */
struct lq_error {
    enum lq_status status;
    char message[1024];
};

#if defined(__GNUC__)
#define LQ_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define LQ_PRINTF(fmt, args)
#endif

/* Writes the message and returns `status`, so that a failing line can be `return lq_error_set(err, ...)`.
 * `err` may be NULL. A message too long for the buffer ends in "...". */
enum lq_status lq_error_set(struct lq_error *err, enum lq_status status, const char *fmt, ...) LQ_PRINTF(3, 4);

/* Puts "prefix: " before the message that stands in `err`; returns err->status (LQ_OK when err is NULL). */
enum lq_status lq_error_prefix(struct lq_error *err, const char *fmt, ...) LQ_PRINTF(2, 3);

enum lq_log_level { LQ_LOG_DEBUG, LQ_LOG_INFO, LQ_LOG_WARN };

/* How far long work is. */
struct lq_progress {
    const char *what;     /* the tensor or step in hand */
    uint64_t done, total; /* bytes of the input; where `counted`, in the work's own unit */
    double seconds;       /* since the work began */
    bool counted;
};

/* Callbacks for long work; any may be NULL. `log` and `progress` are called from one thread at a time;
 * `cancelled` from any thread: it must be thread-safe and quick. */
struct lq_hooks {
    void *data;
    void (*log)(void *data, enum lq_log_level level, const char *message);
    void (*progress)(void *data, const struct lq_progress *progress);
    bool (*cancelled)(void *data);
};

/* The version of this program, "MAJOR.MINOR.PATCH". */
const char *lq_version(void);

/* Number of CPUs that this process may use: its affinity mask, capped by the cgroup's quota; at least 1. */
unsigned lq_cpu_count(void);

#ifdef __cplusplus
}
#endif
#endif
