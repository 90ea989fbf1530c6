"""The names of special tokens: what opens and closes turns, thoughts and calls in the models that engines serve.

Facts, from the tokenizers and templates of the families named. What stands between bars (`<|im_start|>`, `<｜User｜>`)
is known by its shape, whatever its name, and with spaces in it by the names listed here.
"""

import re

ANGLE = frozenset(
    # Llama 1 and 2, Mistral, T5, BART, Falcon, Yuan, MOSS, InternLM, ChatGLM
    "s unk pad bos eos cls sep mask eod eop sop eot eom eoh eoa eoc eor SYS "
    # Gemma 1 to 3, FunctionGemma
    "start_of_turn end_of_turn start_of_image end_of_image image_soft_token audio_soft_token escape "
    "start_function_call end_function_call start_function_response end_function_response "
    "start_function_declaration end_function_declaration "
    # Qwen, DeepSeek, GLM, Kimi, Ling
    "think tool_call tool_calls tool_response tools arg_key arg_value role "
    # Seed-OSS, MiniMax, LongCat, dots
    "seed:bos seed:eos seed:pad seed:think seed:tool_call seed:cot_budget_reflect mm:think minimax:tool_call "
    "longcat_s longcat_user longcat_assistant longcat_system longcat_tool_call dots_function_call function_call "
    "function_calls code_interpreter "
    # Command
    "BOS_TOKEN EOS_TOKEN PAD_TOKEN UNK_TOKEN SEP_TOKEN CLS_TOKEN MASK_TOKEN EOP_TOKEN "
    # TeleChat, MiniCPM, RedPajama, Idefics
    "_start _user _bot _system _end _pad 用户 AI human bot assistant system im_start im_end end_of_utterance "
    # StarCoder, SmolLM, CodeGemma, Granite
    "fim_prefix fim_middle fim_suffix fim_pad file_sep filename repo_name reponame gh_stars issue_start issue_comment "
    "issue_closed jupyter_start jupyter_text jupyter_code jupyter_output jupyter_script jupyter_error empty_output "
    "commit_before commit_msg commit_message commit_after add_file delete_file rename_file edit_file repo_struct "
    # where an image or a sound goes, which engines count
    "image video audio img image_placeholder video_placeholder audio_placeholder IMG_CONTEXT im_patch im_col image_id "
    "imgpad global-img fake_token_around_image begin_of_image begin_of_text end_of_text endoftext begin_of_document "
    "end_of_document".split()
)
"""Between angle brackets, as `<start_of_turn>`; what closes (`</s>`) has the same name."""

SQUARE = frozenset(
    # Mistral
    "INST SYSTEM_PROMPT AVAILABLE_TOOLS TOOL_RESULTS TOOL_CALLS TOOL_CONTENT CALL_ID ARGS THINK MODEL_SETTINGS "
    "IMG IMG_BREAK IMG_END AUDIO BEGIN_AUDIO TRANSCRIBE STREAMING_PAD STREAMING_WORD REPEAT_AUDIO_TEXT NEXT_AUDIO_TEXT "
    "PREFIX MIDDLE SUFFIX "
    # BERT, GLM, Kimi, Skywork, YandexGPT
    "CLS SEP MASK PAD UNK BOS EOS EOT gMASK sMASK USER BOT NL X_SEP start_header_id end_header_id".split()
)
"""Between square brackets, as `[/INST]`."""

BARRED = frozenset(
    # ChatML, Llama 3 and 4, Phi, harmony, DeepSeek, Granite, Command, Kimi, EXAONE, Gemma 4
    "im_start im_end im_sep im_user im_assistant im_system im_middle endoftext endofprompt begin_of_text end_of_text "
    "start_header_id end_header_id header_start header_end eot eot_id eom eom_id python_tag system user assistant tool "
    "observation human ai start end message channel return call constrain begin_of_sentence end_of_sentence "
    "tool_calls_begin tool_calls_end tool_call_begin tool_call_end tool_outputs_begin tool_outputs_end tool_sep "
    "tool_output_begin tool_output_end start_of_role end_of_role start_of_turn_token end_of_turn_token user_token "
    "system_token chatbot_token endofturn turn bos eos pad unk sep fim_begin fim_hole fim_end fim_prefix fim_middle "
    "fim_suffix".split()
)
"""Between bars, as `<|im_end|>` and `[|system|]`."""

NUMBERED = re.compile(r"(?:reserved|unused|extra|special|tokens_unused|madeupword)[a-z_]*[0-9]+", re.IGNORECASE)
"""What families number: `<reserved_106>`, `<extra_id_0>`, `<SPECIAL_12>`, `[UNUSED_TOKEN_146]`."""

ODD = re.compile(
    r"\]~!?b[\[\]]|\[e~\[|\]![dp]~\[|\]<\][^\[\]<>]*\[>\["  # MiniMax
    r"|>>(?:TITLE|ABSTRACT|INTRODUCTION|SUMMARY|COMMENT|QUESTION|ANSWER|DOMAIN|PREFIX|MIDDLE|SUFFIX)<<"  # Falcon
    r"|\|DSML\||(?<=▁)<(?:PRE|SUF|MID|EOT)>"  # DeepSeek, Code Llama
)
"""Special tokens of other shapes."""
