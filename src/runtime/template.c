#include "runtime/template.h"

#include <stdio.h>
#include <stdlib.h>

static const char *template_of(const struct lq_runtime *rt)
{
    return llama_model_chat_template(rt->model, NULL);
}

bool lq_template_known(const struct lq_runtime *rt)
{
    const struct llama_chat_message message = {.role = "user", .content = ""};
    return template_of(rt) != NULL && llama_chat_apply_template(template_of(rt), &message, 1, true, NULL, 0) >= 0;
}

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the prompt");
}

static enum lq_status apply(char **out, const struct lq_runtime *rt, const struct llama_chat_message *messages,
                            size_t n, bool open, struct lq_error *err)
{
    int32_t length = llama_chat_apply_template(template_of(rt), messages, n, open, NULL, 0);
    if (length < 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: the chat template takes no conversation of %zu messages",
                            rt->language, n);
    char *text = calloc((size_t)length + 1, 1);
    if (text == NULL) return no_memory(err);
    llama_chat_apply_template(template_of(rt), messages, n, open, text, length);
    *out = text;
    return LQ_OK;
}

enum lq_status lq_template_render(char **out, const struct lq_runtime *rt, const struct lq_dialogue_turn *turns,
                                  size_t n_turns, bool open, struct lq_error *err)
{
    char *first = NULL;
    struct llama_chat_message *messages = calloc(n_turns, 2 * sizeof *messages);
    if (messages == NULL || asprintf(&first, LQ_MARK "\n%s", turns[0].question) < 0) {
        free(messages);
        return no_memory(err);
    }
    for (size_t i = 0; i < n_turns; i++) {
        messages[2 * i] = (struct llama_chat_message){.role = "user", .content = i == 0 ? first : turns[i].question};
        messages[2 * i + 1] = (struct llama_chat_message){.role = "assistant", .content = turns[i].answer};
    }
    enum lq_status status = apply(out, rt, messages, 2 * n_turns - open, open, err);
    free(first);
    free(messages);
    return status;
}
