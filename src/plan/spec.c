#include "plan/spec.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { RECIPES = 8 };

static const struct recipe {
    struct lq_recipe_info info;
    const char *name, *tag;
} recipes[RECIPES] = {
    {{"layered", "the default: vision feed-forward 4 bits, language body 8 bits, attention above its surroundings"},
     "layered",
     "layered"},
    {{"2", "2 bits for the bulk, about 3 per weight in all"}, "2 bits", "2bit"},
    {{"3", "about 3 bits per weight, more for what matters"}, "3 bits", "3bit"},
    {{"4", "about 4 bits per weight, more for what matters"}, "4 bits", "4bit"},
    {{"5", "about 5 bits per weight, more for what matters"}, "5 bits", "5bit"},
    {{"6", "about 6 bits per weight, more for what matters"}, "6 bits", "6bit"},
    {{"8", "8 bits per weight throughout"}, "8 bits", "8bit"},
    {{"copy", "every tensor as it is"}, "copy", "copy"},
};

#define T(type) LQ_TYPE_##type

/* A column for each recipe, in the same order; the first row whose role fits holds. */
/* clang-format off */
static const struct {
    const char *role;
    enum lq_type types[RECIPES];
} table[] = {
    /*                          layered    2        3        4        5        6        8        copy */
    {"vision.ffn",             {T(Q4_K), T(Q2_K), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(NONE)}},
    {"vision.attention",       {T(Q8_0), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(Q8_0), T(NONE)}},
    {"projector",              {T(Q8_0), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(Q8_0), T(Q8_0), T(NONE)}},
    {"language.ffn.down",      {T(Q8_0), T(Q3_K), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(NONE)}},
    {"language.ffn",           {T(Q8_0), T(Q2_K), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(NONE)}},
    {"language.attention.v",   {T(F16),  T(Q4_K), T(Q5_K), T(Q6_K), T(Q6_K), T(Q8_0), T(Q8_0), T(NONE)}},
    {"language.attention",     {T(F16),  T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q6_K), T(Q8_0), T(NONE)}},
    {"language.embedding",     {T(Q8_0), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q6_K), T(Q8_0), T(NONE)}},
    {"language.output",        {T(Q8_0), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(Q8_0), T(Q8_0), T(NONE)}},
    {"vision",                 {T(Q8_0), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(Q8_0), T(NONE)}},
    {"language",               {T(Q8_0), T(Q3_K), T(Q4_K), T(Q5_K), T(Q6_K), T(Q8_0), T(Q8_0), T(NONE)}},
};
/* clang-format on */

/* ggml types that are no file type of llama-quantize. */
static const struct lq_recipe_info plain_types[] = {
    {"q3_k", "every matrix in 3-bit superblocks"},
    {"q4_k", "every matrix in 4-bit superblocks"},
    {"q5_k", "every matrix in 5-bit superblocks"},
    {"mxfp4", "every matrix in 4-bit floats, blocks of 32"},
    {"nvfp4", "every matrix in 4-bit floats, blocks of 64"},
    {"f16", "every matrix in 16-bit floats"},
    {"bf16", "every matrix in 16-bit floats with f32's range"},
    {"f32", "every matrix in 32-bit floats"},
};

/* What these digits mean elsewhere: to llama-quantize (file types) and to llamafile's llava-quantize (ggml's types). */
static const struct {
    const char *text, *note;
} notes[] = {
    {"2", "2 means 2 bits here; the type number 2 of llama-quantize and of llamafile's llava-quantize is Q4_0"},
    {"3", "3 means 3 bits here; the type number 3 of llama-quantize and of llamafile's llava-quantize is Q4_1"},
    {"6", "6 means 6 bits here; the type number 6 of llamafile's llava-quantize is Q5_0"},
    {"8", "8 means 8 bits here; the type number 8 of llama-quantize is Q5_0"},
};

const struct lq_recipe_info *lq_recipe_at(size_t i)
{
    if (i < RECIPES) return &recipes[i].info;
    i -= RECIPES;
    size_t mixes = 0;
    while (lq_mix_at(mixes) != NULL) mixes++;
    if (i < mixes) return &lq_mix_at(i)->info;
    i -= mixes;
    return i < sizeof plain_types / sizeof plain_types[0] ? &plain_types[i] : NULL;
}

bool lq_role_has_prefix(enum lq_role role, const char *prefix)
{
    const char *name = lq_role_name(role);
    size_t n = strlen(prefix);
    return n > 0 && strncasecmp(name, prefix, n) == 0 && (name[n] == '\0' || name[n] == '.');
}

enum lq_type lq_recipe_type(size_t recipe, enum lq_role role)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (lq_role_has_prefix(role, table[i].role)) return table[i].types[recipe];
    return LQ_TYPE_NONE;
}

const char *lq_spec_note(const char *text)
{
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++)
        if (strcmp(text, notes[i].text) == 0) return notes[i].note;
    return "";
}

/* Every name, or the bits alone, as "2, 3, 4 ...". */
static void list_names(char *dst, size_t size, bool numbers_only)
{
    size_t used = 0;
    const struct lq_recipe_info *info;
    for (size_t i = 0; (info = lq_recipe_at(i)) != NULL && used < size; i++)
        if (!numbers_only || isdigit((unsigned char)info->name[0]))
            used += (size_t)snprintf(dst + used, size - used, "%s%s", used > 0 ? ", " : "", info->name);
}

static enum lq_status refuse(const char *text, struct lq_error *err)
{
    char names[700];
    bool number = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
    list_names(names, sizeof names, number);
    if (number) return lq_error_set(err, LQ_ERR_USAGE, "a number means bits: '%.32s' is none of %s", text, names);
    return lq_error_set(err, LQ_ERR_USAGE, "'%.64s' is no recipe, number of bits, file type or ggml type: one of %s",
                        text, names);
}

static void set_plain(struct lq_spec *out, const struct lq_format *format)
{
    *out = (struct lq_spec){.kind = LQ_SPEC_PLAIN, .type = format->type};
    snprintf(out->name, sizeof out->name, "%s", format->name);
    for (size_t i = 0; format->name[i] != '\0'; i++) out->tag[i] = (char)toupper((unsigned char)format->name[i]);
}

static void set_mix(struct lq_spec *out, const struct lq_mix *mix)
{
    *out = (struct lq_spec){.kind = LQ_SPEC_MIX, .mix = mix};
    snprintf(out->name, sizeof out->name, "%s", mix->info.name);
    snprintf(out->tag, sizeof out->tag, "%s", mix->info.name);
}

static bool set_recipe(struct lq_spec *out, const char *text)
{
    for (size_t i = 0; i < RECIPES; i++) {
        if (strcasecmp(recipes[i].info.name, text) != 0) continue;
        *out = (struct lq_spec){.kind = LQ_SPEC_RECIPE, .recipe = i};
        snprintf(out->name, sizeof out->name, "%s", recipes[i].name);
        snprintf(out->tag, sizeof out->tag, "%s", recipes[i].tag);
        return true;
    }
    return false;
}

enum lq_status lq_spec_parse(struct lq_spec *out, const char *text, struct lq_error *err)
{
    if (set_recipe(out, text)) return LQ_OK;
    const struct lq_mix *mix = lq_mix_find(text);
    const struct lq_format *format = lq_format_find(text);
    if (mix != NULL) set_mix(out, mix);
    else if (format != NULL && (format->flags & LQ_FORMAT_TARGET) != 0) set_plain(out, format);
    else return refuse(text, err);
    return LQ_OK;
}
