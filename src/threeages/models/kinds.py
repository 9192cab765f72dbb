"""The kinds of heads by name, without torch: settings and the command line list them too."""

AGE_GROUP_HEADS = ("softmax", "soft_ordinal", "coral", "corn")  # for the age group and other classes
HEAD_KINDS = (*AGE_GROUP_HEADS, "years")
