"""The command line of Phonoscene, for people and for programs.

It talks to AWS with its user's own credentials: there is no API of ours to attack.
"""
