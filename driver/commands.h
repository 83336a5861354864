/* The commands, each in its own file; commands.c puts them in order. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "cmd.h"

extern const struct cmd cmd_apply;
extern const struct cmd cmd_cancel;
extern const struct cmd cmd_chat;
extern const struct cmd cmd_db_backup;
extern const struct cmd cmd_db_check;
extern const struct cmd cmd_db_copy;
extern const struct cmd cmd_db_restore;
extern const struct cmd cmd_deployment_add;
extern const struct cmd cmd_deployment_list;
extern const struct cmd cmd_deployment_remove;
extern const struct cmd cmd_deployment_set;
extern const struct cmd cmd_deployment_show;
extern const struct cmd cmd_doctor;
extern const struct cmd cmd_exit;
extern const struct cmd cmd_export;
extern const struct cmd cmd_feedback;
extern const struct cmd cmd_feedback_add;
extern const struct cmd cmd_feedback_export;
extern const struct cmd cmd_feedback_set;
extern const struct cmd cmd_help;
extern const struct cmd cmd_log;
extern const struct cmd cmd_log_export;
extern const struct cmd cmd_log_prune;
extern const struct cmd cmd_log_show;
extern const struct cmd cmd_model_add;
extern const struct cmd cmd_model_list;
extern const struct cmd cmd_model_ping;
extern const struct cmd cmd_model_remove;
extern const struct cmd cmd_model_set;
extern const struct cmd cmd_model_show;
extern const struct cmd cmd_replay;
extern const struct cmd cmd_run;
extern const struct cmd cmd_server_add;
extern const struct cmd cmd_server_list;
extern const struct cmd cmd_server_ping;
extern const struct cmd cmd_server_trust;
extern const struct cmd cmd_server_remove;
extern const struct cmd cmd_server_set;
extern const struct cmd cmd_server_show;
extern const struct cmd cmd_runs;
extern const struct cmd cmd_set;
extern const struct cmd cmd_stats;
extern const struct cmd cmd_train;
extern const struct cmd cmd_version;
extern const struct cmd cmd_wait;
extern const struct cmd cmd_weights_add;
extern const struct cmd cmd_weights_list;
extern const struct cmd cmd_weights_remove;
extern const struct cmd cmd_weights_use;
extern const struct cmd cmd_worker_check;

#endif
