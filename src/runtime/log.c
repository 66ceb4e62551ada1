#include "runtime/log.h"

#include <llama.h>
#include <mtmd-helper.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct lq_log *current;

static void end_line(struct lq_log *log)
{
    log->line[log->used] = 0;
    if (log->used == 0) return;
    if (log->error && log->reason[0] == 0) snprintf(log->reason, sizeof log->reason, "%.300s", log->line);
    if (log->hooks != NULL && log->hooks->log != NULL) log->hooks->log(log->hooks->data, LQ_LOG_DEBUG, log->line);
    log->used = 0;
}

static void take(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    struct lq_log *log = current;
    if (log == NULL) return;
    if (level != GGML_LOG_LEVEL_CONT) {
        end_line(log);
        log->error = level == GGML_LOG_LEVEL_ERROR;
    }
    for (; *text != 0; text++) {
        if (*text == '\n') end_line(log);
        else if (log->used + 1 < sizeof log->line) log->line[log->used++] = *text;
    }
}

void lq_log_install(void)
{
    llama_log_set(take, NULL); /* ggml's too */
    mtmd_helper_log_set(take, NULL);
}

void lq_log_begin(struct lq_log *log, const struct lq_hooks *hooks)
{
    *log = (struct lq_log){.hooks = hooks, .outer = current};
    current = log;
}

void lq_log_end(struct lq_log *log)
{
    end_line(log);
    current = log->outer;
}

const char *lq_log_reason(const struct lq_log *log)
{
    return log->reason[0] != 0 ? log->reason : "llama.cpp gave no reason";
}
