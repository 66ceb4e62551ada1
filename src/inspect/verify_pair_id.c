#include "inspect/verify_run.h"

#include "source/kv.h"

#include <stdio.h>
#include <string.h>

/* The id of one half; "" where it has none. */
struct id {
    char text[64];
};

static struct id id_of(const struct lq_model_half *half)
{
    struct id id = {""};
    const char *text;
    size_t n;
    if (half != NULL && lq_kvs_get_string(half->kvs, LQ_PAIR_ID_KEY, &text, &n))
        snprintf(id.text, sizeof id.text, "%.*s", (int)(n < sizeof id.text ? n : sizeof id.text - 1), text);
    return id;
}

static enum lq_status differ(struct lq_verify_run *run, const struct id *vision, const struct id *language,
                             struct lq_error *err)
{
    bool both = vision->text[0] != '\0' && language->text[0] != '\0';
    lq_run_skip(run, LQ_CHECK_CONTENT, "the halves do not carry one id");
    if (both)
        return lq_run_find(run, LQ_CHECK_PAIR_ID, err, "%s: '%s' is %s, but %s in %s: the files come from two runs",
                           run->model->half[LQ_VISION]->path, LQ_PAIR_ID_KEY, vision->text, language->text,
                           run->model->half[LQ_LANGUAGE]->path);
    int without = vision->text[0] == '\0' ? LQ_VISION : LQ_LANGUAGE;
    return lq_run_find(run, LQ_CHECK_PAIR_ID, err, "%s: has no key '%s', but %s has: the files come from two runs",
                       run->model->half[without]->path, LQ_PAIR_ID_KEY, run->model->half[!without]->path);
}

/* An id may have been made of both halves, so that one alone proves nothing when it does not fit. */
static enum lq_status check_content(struct lq_verify_run *run, const char *id, bool alone, struct lq_error *err)
{
    char found[LQ_PAIR_ID_LENGTH + 1];
    lq_content_id(&run->content, found);
    if (strcmp(found, id) == 0) {
        lq_run_pass(run, LQ_CHECK_CONTENT, "the data are those that the pair id was made of");
        return LQ_OK;
    }
    if (alone) {
        lq_run_skip(run, LQ_CHECK_CONTENT, "one half is here, and the pair id may be that of both");
        return LQ_OK;
    }
    return lq_run_find(run, LQ_CHECK_CONTENT, err,
                       "%s: the data's hash is %s, but '%s' is %s: tensors of one of the halves are damaged, or were "
                       "changed by another program",
                       run->model->half[LQ_LANGUAGE]->path, found, LQ_PAIR_ID_KEY, id);
}

enum lq_status lq_verify_pair_id(struct lq_verify_run *run, struct lq_error *err)
{
    struct id id[LQ_HALVES];
    for (int h = 0; h < LQ_HALVES; h++) id[h] = id_of(run->model->half[h]);
    bool alone = run->model->half[LQ_VISION] == NULL || run->model->half[LQ_LANGUAGE] == NULL;
    const char *any = id[LQ_VISION].text[0] != '\0' ? id[LQ_VISION].text : id[LQ_LANGUAGE].text;
    if (*any == '\0') {
        lq_run_skip(run, LQ_CHECK_PAIR_ID, "there is none: the files were written by another program");
        lq_run_skip(run, LQ_CHECK_CONTENT, "there is no pair id");
        return LQ_OK;
    }
    if (!alone && strcmp(id[LQ_VISION].text, id[LQ_LANGUAGE].text) != 0)
        return differ(run, &id[LQ_VISION], &id[LQ_LANGUAGE], err);
    if (alone) lq_run_skip(run, LQ_CHECK_PAIR_ID, "only one half is here");
    else lq_run_pass(run, LQ_CHECK_PAIR_ID, "%s", any);
    return check_content(run, any, alone, err);
}
